"""The lock of a dump: one writer, named to the second; it ends with its process, and a look at it is in nobody's way."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import ROOT, Launcher, Run, arguments, assert_same_dump, assert_whole
from small_dumps import write_dump

from fairseq_ext.errors import UserError
from fairseq_ext.recording import lock as locking
from fairseq_ext.recording.lock import DumpLock, Holder, holder, lock_file

# A process that holds a lock until its standard input ends. `fork`: it has a child, which says that it lives and waits as well.
HOLD = """
import os, sys
from pathlib import Path
from fairseq_ext.recording.lock import DumpLock
lock = DumpLock(Path(sys.argv[1]), "training", "wait")
lock.acquire()
if sys.argv[2] == "fork" and os.fork() == 0:
    lock.release()
    print("child", os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
if sys.argv[2] != "fork":
    print("held", flush=True)
sys.stdin.read()
if sys.argv[2] == "leave":
    os._exit(0)
lock.release()
"""


class Held:
    """A process that holds a dump's lock."""

    def __init__(self, dump: Path, kind: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(dump), kind],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said = self.process.stdout.readline().split()

    @property
    def pid(self) -> int:
        return self.process.pid

    def end(self, number: int = 0) -> None:
        if number:
            self.process.send_signal(number)
        else:
            self.process.stdin.close()
        self.process.wait()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    process = Held(tmp_path / "dump.zarr", "plain")
    yield process
    if process.process.poll() is None:
        process.end(signal.SIGKILL)


def lock(dump: Path) -> DumpLock:
    return DumpLock(dump, "training", "choose another --record-dir")


def test_a_second_process_is_refused_in_one_line_that_names_the_first(held: Held, tmp_path: Path) -> None:
    dump = tmp_path / "dump.zarr"
    with pytest.raises(UserError, match=r"dump\.zarr is in use by") as caught:
        lock(dump).acquire()
    message = str(caught.value)
    assert "\n" not in message
    assert f"process {held.pid} on {socket.gethostname()}, training since 20" in message
    assert "choose another --record-dir" in message
    assert holder(dump).pid == held.pid
    held.end()
    assert not lock_file(dump).exists()
    with lock(dump) as own:
        assert own.held
        assert holder(dump).pid == os.getpid()
    assert holder(dump) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["kill", "leave"])
def test_the_lock_does_not_outlive_its_process(tmp_path: Path, how: str) -> None:
    dump = tmp_path / "dump.zarr"
    held = Held(dump, how)
    assert holder(dump) is not None
    held.end(signal.SIGKILL if how == "kill" else 0)
    assert lock_file(dump).exists()
    assert holder(dump) is None
    with lock(dump) as own:
        assert own.held
        assert json.loads(lock_file(dump).read_text())["pid"] == os.getpid()
    assert not lock_file(dump).exists()


def test_a_child_does_not_keep_the_lock_of_a_killed_process(tmp_path: Path) -> None:
    """Workers that load data are forked while the lock is held, and outlive their parent for some seconds."""
    dump = tmp_path / "dump.zarr"
    held = Held(dump, "fork")
    assert held.said[0] == "child"
    child = int(held.said[1])
    try:
        assert holder(dump).pid == held.pid  # what the child did with its copy leaves the parent's lock alone
        held.end(signal.SIGKILL)
        os.kill(child, 0)  # it lives
        assert holder(dump) is None
        with lock(dump) as own:
            assert own.held
    finally:
        held.end(signal.SIGKILL)
        os.kill(child, signal.SIGKILL)


def test_the_lock_outlives_renames_of_the_dump(held: Held, tmp_path: Path) -> None:
    dump = tmp_path / "dump.zarr"
    dump.mkdir()
    dump.rename(tmp_path / "aside")
    (tmp_path / "new").mkdir()
    (tmp_path / "new").rename(dump)
    with pytest.raises(UserError):
        lock(dump).acquire()


def test_a_link_to_the_dump_is_the_same_dump(held: Held, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    for path in (tmp_path / "elsewhere/dump.zarr", tmp_path / "elsewhere/../dump.zarr"):
        assert lock_file(path) == tmp_path / "dump.zarr.lock" or ".." in str(path)
    with pytest.raises(UserError):
        lock(tmp_path / "elsewhere/dump.zarr").acquire()


def test_a_look_is_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`holder` locks for a moment; who wants the lock then tries again."""
    dump = tmp_path / "dump.zarr"
    lock_file(dump).touch()
    looking = os.open(lock_file(dump), os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    assert holder(dump) is None
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            fcntl.flock(looking, fcntl.LOCK_UN)

    monkeypatch.setattr(locking.time, "sleep", pause)
    with lock(dump) as own:
        assert own.held
    assert len(pauses) == 3
    os.close(looking)


def test_the_file_that_is_locked_is_the_one_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last holder may delete it between the opening and the locking."""
    dump = tmp_path / "dump.zarr"
    lock_file(dump).touch()
    took = DumpLock._try

    def delete_first(descriptor: int) -> bool:
        monkeypatch.setattr(DumpLock, "_try", staticmethod(took))
        lock_file(dump).unlink()
        return took(descriptor)

    monkeypatch.setattr(DumpLock, "_try", staticmethod(delete_first))
    with lock(dump):
        assert holder(dump).pid == os.getpid()
        with pytest.raises(UserError):
            lock(dump).acquire()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_gives_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locking.fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING), lock(tmp_path / "dump.zarr") as own:
        assert not own.held
    assert len(caplog.records) == 1
    assert "cannot be locked" in caplog.text
    assert "\n" not in caplog.records[0].getMessage()
    assert holder(tmp_path / "dump.zarr") is None


def test_a_holder_that_did_not_say_who_it_is(tmp_path: Path) -> None:
    dump = tmp_path / "dump.zarr"
    lock_file(dump).write_text('{"pid": ')
    other = os.open(lock_file(dump), os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert holder(dump) == Holder()
    with pytest.raises(UserError, match="did not say its number"):
        lock(dump).acquire()
    os.close(other)


def test_check_says_who_records_and_prune_is_refused(launcher: Launcher, tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump.zarr")
    held = Held(dump, "plain")
    done = launcher.run("recording", ["check", dump])
    assert done.status == 0, done.said
    assert f"in use by process {held.pid} on" in done.stdout
    done = launcher.run("recording", ["prune", dump, "--snapshots", "every:10", "--in-place"])
    assert f"in use by process {held.pid} on" in done.error
    assert (
        launcher.run("recording", ["prune", dump, "--snapshots", "every:10", "--out", tmp_path / "new.zarr"]).status
        == 0
    )
    held.end()
    assert {p.name for p in tmp_path.iterdir()} == {"dump.zarr", "new.zarr"}


@pytest.mark.train
def test_a_second_training_is_refused_and_the_first_goes_on(
    launcher: Launcher, corpus: Path, recorded: Run, tmp_path: Path
) -> None:
    """The second one plain, with --record-overwrite, and with checkpoints of its own; a kill of the first frees the dump."""
    first = launcher.start("train", arguments(corpus, tmp_path))
    assert first.until_update(3)
    first.send(signal.SIGSTOP)
    elsewhere = ["--save-dir", tmp_path / "other"]
    for more in ([], ["--record-overwrite"], elsewhere, [*elsewhere, "--record-overwrite"]):
        done = launcher.run("train", arguments(corpus, tmp_path, *more))
        assert f"in use by process {first.pid} on {socket.gethostname()}, training since" in done.error
        assert "num_updates" not in done.said
    first.send(signal.SIGKILL)
    first.send(signal.SIGCONT)
    assert first.finish().status == -signal.SIGKILL
    assert_whole(tmp_path / "dump.zarr")
    assert lock_file(tmp_path / "dump.zarr").exists()
    done = launcher.run("train", arguments(corpus, tmp_path))
    assert done.status == 0, done.said[-3000:]
    assert_same_dump(tmp_path / "dump.zarr", recorded.dump)
    assert not lock_file(tmp_path / "dump.zarr").exists()


def stopped(pid: int) -> bool:
    """Stop a process; ``False`` if it has ended."""
    try:
        os.kill(pid, signal.SIGSTOP)
        while (state := state_of(pid)) not in "TZX":
            os.sched_yield()
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state == "T"


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def stopped_children(pid: int) -> list[int]:
    """Processes that any of a stopped process's threads has forked, stopped as well."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(p) for task in tasks for p in (task / "children").read_text().split() if stopped(int(p))]


@pytest.mark.train
def test_workers_of_a_killed_training_do_not_hold_its_lock(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    """Workers of the second epoch and later are forked after the dump was locked."""
    process = launcher.start("train", arguments(corpus, tmp_path, "--num-workers", 2, last=400))
    dump = tmp_path / "dump.zarr"
    children: list[int] = []
    try:
        for update in range(31, 400):  # between two epochs there are none
            assert process.until_update(update)
            assert stopped(process.pid)
            if children := stopped_children(process.pid):
                break
            process.send(signal.SIGCONT)
        assert children
        assert holder(dump).pid == process.pid
        for child in children:
            assert str(lock_file(dump)) not in [os.readlink(f) for f in Path(f"/proc/{child}/fd").iterdir()]
        process.send(signal.SIGKILL)
        assert launcher.ask(wait=process.pid) == -signal.SIGKILL
        assert all(state_of(child) == "T" for child in children)
        assert holder(dump) is None
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
