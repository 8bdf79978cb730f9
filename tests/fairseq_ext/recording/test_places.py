"""Dumps in key-value stores: equal to a folder's byte for byte, whole after a crash between any two writes, with one writer."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorstore as ts
from recorder_runs import (
    URL,
    Training,
    dump_keys,
    keys_of,
    make_corpus,
    memory,
    memory_of,
    recorder,
    train,
    whole,
    without_progress,
)
from running import Launcher, Run, arguments, assert_same_dump, assert_same_training, assert_whole
from small_dumps import contents_of

from fairseq_ext import failpoints
from fairseq_ext.errors import UserError
from fairseq_ext.recording import lease, place, store
from fairseq_ext.recording.lease import Claim, Lease, Pace
from fairseq_ext.recording.location import Location

LEASE = f"{Location.of_url(URL).spec['path'].rstrip('/')}.lease"


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("words") / "corpus")


@pytest.fixture(scope="module")
def uninterrupted(words: Path) -> dict[str, bytes]:
    context = ts.Context()
    train(words, memory(context))
    return dump_keys(context)


# -- the same dump ---------------------------------------------------------------------------------------------------------------


def test_a_key_value_store_holds_what_a_folder_holds_byte_for_byte(
    words: Path, uninterrupted: dict[str, bytes], tmp_path: Path
) -> None:
    train(words, str(tmp_path / "folder" / "dump.zarr"))
    train(words, f"file://{tmp_path}/url/dump.zarr")
    folder = contents_of(tmp_path / "folder" / "dump.zarr")
    assert len(folder) > 50
    assert contents_of(tmp_path / "url" / "dump.zarr") == folder
    assert uninterrupted == folder
    assert [entry.name for entry in (tmp_path / "url").iterdir()] == ["dump.zarr"]  # neither lock nor claim


def test_nothing_but_the_dump_is_left(words: Path) -> None:
    context = ts.Context()
    train(words, memory(context))
    assert [key for key in keys_of(context) if "/dump.zarr/" not in key] == []


@pytest.mark.train
def test_fairseq_train_into_a_url_equals_the_folder_run_and_resumes(
    launcher: Launcher, corpus: Path, recorded: Run, tmp_path: Path
) -> None:
    """Killed in its creation, then after a commit, then finished: the claims of the dead are taken over without waiting."""
    url = ["--record-dir", f"file://{tmp_path}/dump.zarr"]
    for failpoint in ("create", "committed:9"):
        killed = launcher.run("train", arguments(corpus, tmp_path, *url), **{failpoints.VARIABLE: failpoint})
        assert killed.status == -9, killed.said[-3000:]
        assert (tmp_path / "dump.zarr.lease").exists()
        assert (tmp_path / "dump.zarr" / "zarr.json").exists() == (failpoint != "create")
    assert_whole(tmp_path / "dump.zarr")
    done = launcher.run("train", arguments(corpus, tmp_path, *url))
    assert done.status == 0, done.said[-3000:]
    assert_same_dump(tmp_path / "dump.zarr", recorded.dump)
    assert_same_training(tmp_path / "checkpoints/checkpoint_last.pt", recorded.last)
    ours, theirs = contents_of(tmp_path / "dump.zarr"), contents_of(recorded.dump)
    assert ours.keys() == theirs.keys()
    assert {key for key in ours if ours[key] != theirs[key]} <= {"zarr.json"}  # its attributes hold paths
    assert {entry.name for entry in tmp_path.iterdir()} == {"checkpoints", "dump.zarr"}


# -- crashes -----------------------------------------------------------------------------------------------------------------------


class Spied:
    """A key-value store of a place, of which every write is noted first."""

    def __init__(self, kv: ts.KvStore, take: Callable[[], None]) -> None:
        self._kv, self._take = kv, take

    def __getattr__(self, name: str) -> Any:
        if name in ("write", "delete_range"):
            self._take()
        return getattr(self._kv, name)


class Crashes:
    """What a memory holds before each write, with the checkpoints that there were; values of a commit are written all at once."""

    def __init__(self, context: ts.Context, training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
        self.context, self.training = context, training
        self.states: list[tuple[dict[str, bytes], list[Any]]] = []
        write, opened = store.Store.write, Location.open

        def spy(target: store.Store, key: str, raw: bytes) -> None:
            self.take()
            write(target, key, raw)

        monkeypatch.setattr(store.Store, "write", spy)
        monkeypatch.setattr(Location, "open", lambda *given, **options: Spied(opened(*given, **options), self.take))
        monkeypatch.setattr(failpoints, "reach", lambda name: self.take())

    def take(self) -> None:
        state = keys_of(self.context), list(self.training.checkpoints)
        if not self.states or self.states[-1] != state:
            self.states.append(state)

    def all(self, rng: random.Random) -> list[tuple[dict[str, bytes], list[Any]]]:
        """Each state, and between two of them one in which a part of what is written at once was written."""
        found = list(self.states)
        for (before, checkpoints), (after, _) in zip(self.states, self.states[1:], strict=False):
            changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
            for _ in range(0 if len(changed) < 2 else 8 if len(after) < len(before) else 1):
                part = set(rng.sample(changed, rng.randrange(1, len(changed))))
                mixed = {k: v for k, v in before.items() if k not in part}
                mixed |= {k: v for k, v in after.items() if k in part}
                found.append((mixed, checkpoints))
        return found


def require_as_uninterrupted(found: dict[str, bytes], wanted: dict[str, bytes]) -> None:
    assert sorted(found) == sorted(wanted)
    ours, theirs = without_progress(found), without_progress(wanted)
    assert [key for key in theirs if ours[key] != theirs[key]] == []


def require_that_what_the_root_lists_is_there(keys: dict[str, bytes]) -> None:
    """Every group and array of the consolidated metadata, and every chunk of what grows and is never all fill values."""
    prefix = Location.of_url(URL).spec["path"]
    if f"{prefix}zarr.json" not in keys:
        return
    for place_of, member in json.loads(keys[f"{prefix}zarr.json"])["consolidated_metadata"]["metadata"].items():
        assert f"{prefix}{place_of}/zarr.json" in keys, place_of
        if place_of.rpartition("/")[2] in ("values", "update", "mean_cosine", "frame"):
            chunks = member["chunk_grid"]["configuration"]["chunk_shape"]
            for chunk in itertools.product(*(range(-(-n // c)) for n, c in zip(member["shape"], chunks, strict=True))):
                assert f"{prefix}{place_of}/c/{'/'.join(map(str, chunk))}" in keys, (place_of, chunk)


@pytest.mark.parametrize("part", ["creation and training", "resuming", "overwriting"])
def test_a_crash_between_any_two_writes_loses_nothing(
    words: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Every state in which a kill can leave the store; training goes on from the last checkpoint and ends as if nothing had been."""
    training, context = Training(), ts.Context()
    overwrite = part == "overwriting"
    if part != "creation and training":
        train(words, memory(context), training=training, seed=2 if overwrite else 1)
    if part == "resuming":
        training.checkpoints.pop()  # back to update 4: six records of each stream are cut off
    if overwrite:
        training.checkpoints.clear()
    crashes = Crashes(context, training, monkeypatch)
    train(words, memory(context), training=training, record_overwrite=overwrite)
    monkeypatch.undo()
    require_as_uninterrupted(dump_keys(context), uninterrupted)
    rng = random.Random(3)
    states = crashes.all(rng)
    assert len(states) > 30
    tried = states[:40] + rng.sample(states[40:], 25) if len(states) > 65 else states
    for keys, _ in states:
        require_that_what_the_root_lists_is_there(keys)
    for keys, checkpoints in tried:
        again = memory_of(keys)
        left = Training(list(checkpoints))
        train(words, memory(again), training=left, record_overwrite=overwrite)
        require_as_uninterrupted(dump_keys(again), uninterrupted)
        assert LEASE not in keys_of(again)


def test_what_is_no_dump_of_ours_is_never_deleted(words: Path) -> None:
    prefix = Location.of_url(URL).spec["path"]
    for theirs in ({"notes.txt": b"mine"}, {"zarr.json": b'{"zarr_format": 3, "node_type": "group"}', "a/c/0": b"1"}):
        keys = {prefix + key: value for key, value in theirs.items()}
        context = memory_of(keys)
        for overwrite in (False, True):
            with pytest.raises(UserError, match="choose another --record-dir"):
                train(words, memory(context), record_overwrite=overwrite)
            assert keys_of(context) == keys


def test_a_dump_beside_with_a_longer_name_is_left_alone(words: Path) -> None:
    prefix = Location.of_url(URL).spec["path"].rstrip("/")
    theirs = {f"{prefix}.old/zarr.json": b"{}", f"{prefix}2/zarr.json": b"{}"}
    context = memory_of(theirs)
    train(words, memory(context), seed=2)
    train(words, memory(context), record_overwrite=True)
    assert theirs.items() <= keys_of(context).items()


# -- two writers -------------------------------------------------------------------------------------------------------------------


class Clock:
    """Seconds that pass when somebody waits."""

    def __init__(self) -> None:
        self.now, self.while_waiting = 100.0, lambda: None

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.while_waiting()


QUIET = Pace(renew=1e6)  # no renewal but those that a test asks for


def claimed(context: ts.Context, clock: Clock, **options: Any) -> place.KeyValuePlace:
    given: dict[str, Any] = {"clock": clock, "wait": clock.wait, "gone": lambda claim: False}
    return memory(context, QUIET, **given | options)


def test_a_second_run_is_refused_while_the_first_renews_its_claim(words: Path, uninterrupted: dict[str, bytes]) -> None:
    context, clock = ts.Context(), Clock()
    first = claimed(context, clock)
    clock.while_waiting = lambda: first.lease._renew() if first.lease and first.lease.held else None

    def second(update: int) -> None:
        if update == 6:
            with pytest.raises(UserError, match=r"in use by process \d+ on .*, training since .*; wait until it ends"):
                train(words, claimed(context, clock), record_overwrite=True)

    train(words, first, each=second)
    assert clock.now < 110
    require_as_uninterrupted(dump_keys(context), uninterrupted)


def test_who_gave_no_sign_is_taken_over_and_writes_nothing_more(words: Path) -> None:
    """The first run stands still from update 6 on, as under SIGSTOP; the second waits a minute and goes on from the checkpoint.

    What the second writes is not what the first would have written.
    """
    context, clock = ts.Context(), Clock()
    training, started = Training(), Clock()
    seen = {}

    def second(update: int) -> None:
        if update == 6:
            train(words, claimed(context, started), training=Training(list(training.checkpoints)), version=1)
            seen.update(keys_of(context))
            clock.now += started.now - 100

    with pytest.raises(UserError, match="was taken over by another process"):
        train(words, claimed(context, clock), training=training, each=second)
    assert started.now - 100 >= QUIET.expire
    assert keys_of(context) == seen


def test_of_two_that_take_over_a_claim_one_succeeds(tmp_path: Path) -> None:
    kv = whole(ts.Context())
    kv.write("x.lease", Claim(pid=1, host="elsewhere", token="t").write()).result()
    clocks = Clock(), Clock()
    leases = [Lease(kv, "x.lease", "x", "training", "wait", QUIET, c, c.wait, lambda claim: False) for c in clocks]

    def other() -> None:
        if clocks[0].now - 100 >= QUIET.expire and not leases[1].held:
            clocks[0].while_waiting = lambda: None
            leases[1].acquire()

    clocks[0].while_waiting = other
    with pytest.raises(UserError, match="in use by process"):
        leases[0].acquire()
    assert [entry.held for entry in leases] == [False, True]
    leases[0].release()
    assert Claim.read(kv.read("x.lease").result().value).pid is not None
    leases[1].release()
    assert kv.list().result() == []


def test_a_process_of_this_machine_that_ended_is_known_to_be_gone() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    here = lease.this_machine()
    assert here is not None
    assert lease.is_gone(Claim(pid=ended.pid, machine=here))
    assert not lease.is_gone(Claim(pid=os.getpid(), machine=here))
    assert not lease.is_gone(Claim(pid=ended.pid, machine="another"))
    assert not lease.is_gone(Claim.read(b"not JSON"))


def test_without_a_claim_conditional_writes_alone_let_one_of_two_go_on(words: Path) -> None:
    """Two stores of one dump, each as it was when both were opened: the one that commits second is refused, and nothing is listed twice."""
    context = ts.Context()
    train(words, memory(context), last=4, saves=(4,))
    location = Location.of_url(URL, context)
    key = "tables/embed_tokens.weight/traces"
    one, two = (store.Stream(store.Store(location), key, 1024) for _ in range(2))
    value = {"values": one._tail_of("values", 0, 1)[0] + 1}
    for stream in (one, two):
        stream.append(7, value)
    one.commit()
    with pytest.raises(UserError, match="two runs record into one dump"):
        two.commit()
    assert store.Stream(store.Store(location), key, 1024).updates == [0, 2, 4, 7]
    with pytest.raises(UserError, match="two runs record into one dump"):
        two.store.write_root()


def test_of_two_creations_the_second_is_refused_and_the_first_stays(words: Path) -> None:
    """As if both held the claim: a root that came into being meanwhile is not replaced, and the loser deletes nothing."""
    context = ts.Context()

    def create() -> None:
        with memory(context).creating() as target:
            target.write_json("tables/zarr.json", {})
            whole(context).write(Location.of_url(URL).spec["path"] + "zarr.json", b"theirs").result()

    with pytest.raises(UserError, match="two runs record into one dump"):
        create()
    found = dump_keys(context)
    assert found["zarr.json"] == b"theirs"
    assert "tables/zarr.json" in found


def test_a_write_that_was_sent_twice_is_no_other_writer(words: Path) -> None:
    """The first answer was lost and the store holds the value already."""
    context = ts.Context()
    asked: list[bool] = []
    target = store.Store(dataclasses.replace(Location.of_url(URL, context), claim=asked.append))
    target.write("zarr.json", b"{}")
    whole(context).write(Location.of_url(URL).spec["path"] + "zarr.json", b'{"a": 1}').result()
    target.write("zarr.json", b'{"a": 1}')
    target.write("zarr.json", b"{}")
    assert asked == [True]  # the claim, whether it still stands


def test_the_root_is_written_once_for_several_commits_and_not_if_nothing_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []
    target = store.Store(Location.of_url(URL, ts.Context()))
    monkeypatch.setattr(target, "write", lambda key, value: written.append(key))
    with target.one_root():
        for number in range(3):
            target.root["attributes"]["a"] = number
            target.write_root()
    assert written == ["zarr.json"]
    with target.one_root():
        pass
    assert written == ["zarr.json"]


def test_a_folder_and_its_url_keep_each_other_away(words: Path, tmp_path: Path) -> None:
    folder, url = str(tmp_path / "dump.zarr"), f"file://{tmp_path}/dump.zarr"
    for first, second in ((folder, url), (url, folder)):

        def other(update: int, second: str = second) -> None:
            if update == 2:
                with pytest.raises(UserError, match="in use by process"):
                    train(words, second)

        train(words, first, last=3, saves=(), each=other, record_overwrite=True)


# -- what is said ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/dump.zarr", "expected a folder or a URL such as s3://"),
        ("s3:/bucket/dump.zarr", "expected a folder or a URL such as s3://"),
        ("s3://bucket", "a path below it"),
        ("s3:///path", "the bucket's name"),
        ("gs://bucket/", "a path below it"),
        ("file://host/path", "file:/// and an absolute path"),
        ("s3://bucket/a?versionId=1", "no ? and no #"),
        ("s3://bucket/a//b", "no empty name"),
        ("memory://", "a path below it"),
    ],
)
def test_a_url_of_another_form_is_one_line(words: Path, url: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        with recorder(words, url):
            pass
    assert said in refused.value.message
    assert "\n" not in refused.value.message


def test_what_urls_stand_for() -> None:
    s3 = Location.of_url("s3://bucket/a/dump.zarr/", environment={})
    assert s3.spec == {"driver": "s3", "bucket": "bucket", "path": "a/dump.zarr/", "use_conditional_write": True}
    assert s3.beside == ({**s3.spec, "path": "a/"}, "dump.zarr")
    assert s3.name == "s3://bucket/a/dump.zarr"
    minio = Location.of_url("s3://bucket/d", environment={"AWS_ENDPOINT_URL": "http://host:9000/"}).spec
    assert (minio["endpoint"], minio["aws_region"], minio["path"]) == ("http://host:9000", "us-east-1", "d/")
    assert Location.of_url("s3://bucket/d", environment={}).beside[0]["path"] == ""
    gs = Location.of_url("gs://bucket/a/dump.zarr").spec
    assert gs == {"driver": "gcs", "bucket": "bucket", "path": "a/dump.zarr/"}
    file = Location.of_url("file:///shared/dump.zarr")
    assert file.spec == {"driver": "file", "path": "/shared/dump.zarr/"}
    assert file.beside == ({"driver": "file", "path": "/shared/"}, "dump.zarr")


def test_free_space_is_not_checked_and_that_is_said(words: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        train(words, memory(ts.Context()), last=1, saves=())
    assert f"free space is not checked at {URL}" in caplog.text
