"""Recording into ``s3://``, against a server of the tests: the same dump, few requests, one line for what goes wrong, one writer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorstore as ts
from object_server import ObjectServer, serving
from recorder_runs import Training, dump_keys, make_corpus, memory, train, without_progress
from running import Launcher, Run, arguments, assert_same_dump
from small_dumps import said_by, write_dump

from fairseq_ext.errors import UserError
from fairseq_ext.recording import place, store
from fairseq_ext.recording.command import main
from fairseq_ext.recording.lease import Pace

DUMP = "s3://bucket/runs/dump.zarr"
PLAIN = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("words") / "corpus")


@pytest.fixture(scope="module")
def wanted(words: Path) -> dict[str, bytes]:
    context = ts.Context()
    train(words, memory(context))
    return dump_keys(context)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    with serving() as running:
        for name, value in (PLAIN | {"AWS_ENDPOINT_URL": running.url}).items():
            monkeypatch.setenv(name, value)
        yield running


def found(server: ObjectServer) -> dict[str, bytes]:
    return {key.removeprefix("runs/dump.zarr/"): value for key, value in server.objects.items()}


def test_the_dump_is_the_same_byte_for_byte(words: Path, wanted: dict[str, bytes], server: ObjectServer) -> None:
    train(words, DUMP)
    assert found(server) == wanted


def test_a_commit_takes_few_requests(words: Path, server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as docs/remote.md says: four for each growing array, and four for the stream; of a snapshot's chunk nothing is read."""
    commit, counted = store.Stream.commit, []

    def spy(stream: store.Stream) -> None:
        before, pending = len(server.asked), len(stream._pending)
        commit(stream)
        if pending:
            counted.append((stream.key.rpartition("/")[2], len(stream.arrays), len(server.asked) - before))

    monkeypatch.setattr(store.Stream, "commit", spy)
    train(words, DUMP)
    assert {name for name, _, _ in counted} == {"snapshots", "traces", "statistics", "windows"}
    for name, arrays, requests in counted:
        assert requests <= (3 if name in ("snapshots", "windows") else 4) * arrays + 4, (name, arrays, requests)


@pytest.mark.parametrize("writes", [0, 1, 60, 110, 140])
def test_denied_writes_are_one_line_and_the_run_goes_on_later(
    words: Path, wanted: dict[str, bytes], server: ObjectServer, writes: int
) -> None:
    """Access is withdrawn after some writes: at the claim, in the creation, while records are written."""
    training = Training()
    server.writes_left = writes
    with pytest.raises(UserError) as refused:
        train(words, DUMP, training=training)
    assert "\n" not in refused.value.message
    assert "AccessDenied" in refused.value.message
    assert len(refused.value.message) < 500
    server.writes_left = None
    server.objects.pop("runs/dump.zarr.lease", None)  # its process lives: this one
    train(words, DUMP, training=training)
    assert sorted(found(server)) == sorted(wanted)
    ours, theirs = without_progress(found(server)), without_progress(wanted)
    assert [key for key in theirs if ours[key] != theirs[key]] == []


def test_no_write_is_on_its_way_when_the_recording_has_ended(words: Path, server: ObjectServer) -> None:
    """It would arrive while the next process writes: then one statistic is longer than the others."""

    def deny(step: int) -> None:
        if step == 3:
            server.writes_left, server.slow = 0, "statistics/norm_mean/zarr.json"

    others = {f"record_{stream}": "none" for stream in ("movement", "snapshots", "traces", "windows")}
    with pytest.raises(UserError, match="AccessDenied"):
        train(words, DUMP, each=deny, **others)
    assert server.denied.is_set()
    assert server.on_their_way == 0


def test_a_bucket_that_is_not_there_is_one_line(words: Path, server: ObjectServer) -> None:
    with pytest.raises(UserError, match="the bucket does not exist; make it, or correct the URL"):
        train(words, "s3://another-bucket/dump.zarr")


def test_a_server_that_does_not_answer_is_one_line(words: Path, server: ObjectServer) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"the server cannot be reached.*check the network"):
        train(words, DUMP)


def test_a_server_without_conditional_writes_is_said(
    words: Path, server: ObjectServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.heeds_conditions = False
    with caplog.at_level(logging.WARNING):
        train(words, DUMP, last=2, saves=())
    assert "does not heed conditional writes" in caplog.text


def test_two_claims_of_one_dump(server: ObjectServer) -> None:
    first, second = (place.at(DUMP) for _ in range(2))
    assert isinstance(first, place.KeyValuePlace)
    assert isinstance(second, place.KeyValuePlace)
    second.options = {"wait": lambda seconds: first.lease._renew(), "gone": lambda claim: False}
    second.pace = Pace(look=0)
    one, other = (entry.lock("training", "wait") for entry in (first, second))
    one.acquire()
    with pytest.raises(UserError, match="in use by process"):
        other.acquire()
    one.release()
    other.acquire()
    other.release()
    assert server.objects == {}


@pytest.mark.train
def test_fairseq_train_into_object_storage(
    launcher: Launcher, corpus: Path, recorded: Run, server: ObjectServer, tmp_path: Path
) -> None:
    """Killed, finished, copied into a folder: the same as the folder's run."""
    given = {**PLAIN, "AWS_ENDPOINT_URL": server.url}
    words = arguments(corpus, tmp_path, "--record-dir", DUMP)
    killed = launcher.run("train", words, **given, EMBEDDING_LAB_FAILPOINT="committed:9")
    assert killed.status == -9, killed.said[-3000:]
    done = launcher.run("train", words, **given)
    assert done.status == 0, done.said[-3000:]
    for key, value in found(server).items():
        file = tmp_path / "copy" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(value)
    assert_same_dump(tmp_path / "copy", recorded.dump)


def test_check_and_prune_take_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["check", DUMP], ["prune", DUMP, "--snapshots", "log2", "--in-place"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert "expected a folder, found s3://bucket/runs/dump.zarr; copy the dump here first" in said
        assert said.startswith("error: ")
        assert said.count("\n") == 1
    dump = write_dump(tmp_path / "dump.zarr")
    assert said_by(capsys, main, ["check", f"file://{dump}"])[0] == 0
