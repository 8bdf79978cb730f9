"""A file system that turns read-only while training records, as Linux does after an error of the disk; and a writing thread that dies."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import TABLE, Launcher, Run, arguments, assert_same_dump, assert_same_training, assert_whole
from test_crash import stand_still

from fairseq_ext.failpoints import VARIABLE
from fairseq_ext.recording.dump_check import check_dump
from fairseq_ext.recording.findings import WHOLE

pytestmark = pytest.mark.train


def call(*words: object) -> str:
    """Run a program; its reason for not doing it, if any."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr.strip() or f"status {done.returncode}"


class FailingDisk:
    """A small ext4 file system that meets an error when it is told to. Remounting a file system that is written to is refused."""

    def __init__(self, scratch: Path) -> None:
        self.image, self.folder = scratch / "image", scratch / "disk"
        self.image.write_bytes(bytes(24 << 20))
        self.folder.mkdir()

    def mount(self) -> str:
        return call("mount", "-o", "loop,errors=remount-ro", self.image, self.folder)

    def _mounted(self) -> list[str]:
        return [line for line in Path("/proc/mounts").read_text().splitlines() if f" {self.folder} " in line]

    @property
    def error(self) -> Path:
        """The file that makes the kernel see an error."""
        return Path("/sys/fs/ext4") / Path(self._mounted()[0].split()[0]).name / "trigger_fs_error"

    def fail(self) -> None:
        self.error.write_text("an error of the disk")
        with pytest.raises(OSError, match="Read-only"):
            (self.folder / "probe").touch()

    def mend(self) -> None:
        """As one does: unmount, check, mount."""
        assert call("umount", self.folder) == ""
        subprocess.run(["e2fsck", "-fy", self.image], capture_output=True)  # 1: errors were corrected
        assert call("e2fsck", "-fn", self.image) == ""
        assert self.mount() == ""

    def close(self) -> None:
        if self._mounted():
            call("umount", "-l", self.folder)


@pytest.fixture
def failing_disk(tmp_path: Path) -> Iterator[FailingDisk]:
    if os.geteuid() != 0 or not all(map(shutil.which, ("mkfs.ext4", "e2fsck", "mount"))):
        pytest.skip("mounting a small file system needs root and e2fsprogs")
    disk = FailingDisk(tmp_path)
    reason = call("mkfs.ext4", "-q", disk.image) or disk.mount()
    if reason:
        pytest.skip(f"an image cannot be mounted here: {reason}")
    try:
        if not disk.error.exists():
            pytest.skip("this kernel does not make errors on request")
        yield disk
    finally:
        disk.close()


def test_a_file_system_that_turns_read_only_is_one_line_and_the_run_goes_on_once_it_is_mended(
    launcher: Launcher, corpus: Path, recorded: Run, failing_disk: FailingDisk, tmp_path: Path
) -> None:
    """Within a window; the checkpoints lie on another disk."""
    dump = failing_disk.folder / "dump.zarr"
    words = arguments(corpus, tmp_path, "--record-dir", dump)
    process = launcher.start("train", words)
    assert process.until_update(22)
    with stand_still(process):
        failing_disk.fail()
    said = process.finish().error  # a file that is being written meets the error itself, a later one the consequence
    assert re.search(
        r"could not be written \((the file system is read-only|the disk reports an input/output error)\)", said
    )
    found = assert_whole(dump)
    assert found[f"tables/{TABLE}/windows/update"][-1] >= 20
    assert check_dump(dump).verdict == WHOLE
    again = launcher.run("train", words).error  # when it cuts, or when it records, if there is nothing to cut
    assert (
        "could not be written (the file system is read-only)" in again
        or "dump.zarr: the file system is read-only" in again
    )
    failing_disk.mend()
    found = assert_whole(dump)
    assert (
        found[f"tables/{TABLE}/windows/update"][-1] >= 20
    )  # what the checkpoint covers is on the disk, not in the cache
    done = launcher.run("train", words)
    assert done.status == 0, done.said[-3000:]
    assert "from update 20;" in done.said
    assert_same_dump(dump, recorded.dump)
    assert_same_training(tmp_path / "checkpoints/checkpoint_last.pt", recorded.last)


def test_a_writing_thread_that_dies_ends_training_with_one_line_and_it_goes_on(
    launcher: Launcher, corpus: Path, recorded: Run, tmp_path: Path
) -> None:
    """Between a record's values and its update, in the middle of a window."""
    words = arguments(corpus, tmp_path)
    stopped = launcher.run("train", words, **{VARIABLE: "snapshot-values:22:raise=SystemExit"})
    assert "a record could not be written (SystemExit" in stopped.error
    assert_whole(tmp_path / "dump.zarr")
    again = launcher.run("train", words)
    assert again.status == 0, again.said[-3000:]
    assert_same_dump(tmp_path / "dump.zarr", recorded.dump)
    assert_same_training(tmp_path / "checkpoints/checkpoint_last.pt", recorded.last)
