"""setup.sh with a fake Python and a PATH of its own: clear lines, skipping, repair, one at a time. Nothing is installed."""

import fcntl
import os
import select
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from experiments.repair import broken

ROOT = Path(__file__).resolve().parents[2]
TOOLS = "awk bash cat cp cut df dirname env flock grep mkdir mv rm sed sha256sum sleep tail".split()

# Answers like a Python 3.11 with pip. FAKE_VERSION makes it an older one, FAKE_FAIL names a word of a pip command that fails with
# the text FAKE_ERROR. Every pip command is noted in `calls`.
PYTHON = """#!/usr/bin/env bash
case "$*" in
    *version_info*) [[ -z ${FAKE_VERSION:-} ]] || { echo "is Python $FAKE_VERSION" >&2; exit 1; } ;;
    "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
    *'m.version("fairseq-fixed")'*) [[ -e .venv/fairseq ]] ;;
    *"-m pip --version"*) ;;
    *"-m pip"*)
        echo "$*" >> calls
        if [[ -n ${FAKE_FAIL:-} && "$*" == *"$FAKE_FAIL"* ]]; then echo "$FAKE_ERROR"; exit 1; fi
        if [[ "$*" == *" wheel "* ]]; then
            [[ -z ${READY:-} ]] || { echo $$ > "$READY"; exec sleep 1000; }
            mkdir -p .venv/setup/wheels.partial
            : > .venv/setup/wheels.partial/fairseq.whl
        fi
        [[ "$*" == *fairseq.whl* ]] && : > .venv/fairseq
        true ;;
esac
"""


@dataclass
class Checkout:
    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def start(self, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["bash", "scripts/setup.sh"],
            cwd=self.root,
            env=self.env | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, **environment: str) -> tuple[int, str, str]:
        process = self.start(**environment)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def calls(self) -> list[str]:
        path = self.root / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    @property
    def stamp(self) -> Path:
        return self.root / ".venv/setup/stamp"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "checkout"
    (root / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/setup.sh", root / "scripts")
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    path = tmp_path / "bin"
    path.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        if found is None:
            pytest.skip(f"{tool} is not on this machine")
        (path / tool).symlink_to(found)
    for name, text in {"python3.11": PYTHON, "cc": "#!/bin/sh\n", "c++": "#!/bin/sh\n"}.items():
        (path / name).write_text(text)
        (path / name).chmod(0o755)
    return Checkout(root, {"PATH": str(path), "HOME": str(tmp_path), "LC_ALL": "C", "SETUP_DISK_GB": "0"})


def one_line(err: str) -> str:
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("set-up: ")
    return lines[0]


def test_installs_once_and_then_does_nothing(checkout):
    code, out, err = checkout.run()
    assert (code, err) == (0, "")
    assert "set-up: ready" in out
    calls = checkout.calls()
    assert "torch==2.13.0" in calls[0]
    assert any(" wheel " in call and "fairseq-fixed==0.12.3.1" in call for call in calls)
    assert "fairseq.whl" in calls[-1]
    assert "--editable .[test,dev]" in calls[-1]
    assert "-c .venv/setup/constraints.txt" in calls[-1]

    assert checkout.run() == (0, "", "")
    assert checkout.calls() == []


@pytest.mark.parametrize("changed", ["setup.py", "scripts/setup.sh"])
def test_goes_over_it_again_when_its_inputs_change_without_compiling_again(checkout, changed):
    checkout.run()
    checkout.calls()
    with (checkout.root / changed).open("a") as file:
        file.write("# changed\n")
    assert checkout.run()[0] == 0
    calls = checkout.calls()
    assert calls
    assert not any(" wheel " in call for call in calls)


def test_a_wrong_python_is_one_line(checkout):
    code, _, err = checkout.run(FAKE_VERSION="3.9")
    assert code == 1
    line = one_line(err)
    assert "expected Python 3.11 or 3.12" in line
    assert "python3.11 is Python 3.9" in line
    assert "PYTHON=" in line
    assert not (checkout.root / ".venv").exists()


def test_no_python_at_all_is_one_line(checkout):
    code, _, err = checkout.run(PYTHON="python9.9")
    assert code == 1
    assert "nothing of the name python9.9" in one_line(err)


def test_the_real_probe_refuses_what_it_should(checkout):
    """The text that setup.sh hands to each candidate, run by this Python under other version numbers."""
    text = (ROOT / "scripts/setup.sh").read_text()
    probe = text.split("PROBE='\n", 1)[1].split("\n'\n", 1)[0]
    for version, refused in ((3, 10, 0), True), ((3, 13, 0), True), ((3, 11, 4), False), ((3, 12, 1), False):
        code = f"import sys; sys.version_info = {version}\n{probe}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
        said = f"is Python {version[0]}.{version[1]}" in done.stderr
        assert said == refused


def test_no_compiler_is_one_line_before_anything_is_installed(checkout):
    for name in ("cc", "c++"):
        (Path(checkout.env["PATH"]) / name).unlink()
    code, _, err = checkout.run()
    assert code == 1
    line = one_line(err)
    assert "no cc c++" in line
    assert "build-essential" in line
    assert checkout.calls() == []


def test_too_little_disk_is_one_line(checkout):
    code, _, err = checkout.run(SETUP_DISK_GB="100000000")
    assert code == 1
    assert "100000000 GB of free disk" in one_line(err)
    assert not (checkout.root / ".venv").exists()


@pytest.mark.parametrize(
    ("step", "error", "cause"),
    [
        ("torch==", "ERROR: No matching distribution found for torch", "check the network"),
        (" wheel ", "Temporary failure in name resolution", "check the network"),
        (" wheel ", "error: command 'c++' failed", "its last lines stand above"),
        (" -r ", "OSError: [Errno 28] No space left on device", "the disk is full"),
    ],
)
def test_a_failed_step_says_why_and_is_mended_by_running_again(checkout, step, error, cause):
    code, _, err = checkout.run(FAKE_FAIL=step, FAKE_ERROR=error)
    assert code == 1
    assert f"    {error}" in err.splitlines()
    assert err.splitlines()[-1].startswith("set-up: ")
    assert cause in err.splitlines()[-1]
    assert ".venv/setup/" in err.splitlines()[-1]
    assert not checkout.stamp.exists()
    assert checkout.run()[0] == 0
    assert checkout.stamp.exists()


def test_a_second_set_up_waits_for_the_first(checkout):
    (checkout.root / ".venv/setup").mkdir(parents=True)
    with (checkout.root / ".venv/setup/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = checkout.start()
        assert "another set-up is at work" in process.stdout.readline()
        assert checkout.calls() == []
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "ready" in out


@pytest.mark.timeout(90)
def test_sigterm_ends_the_compiler_too(checkout, tmp_path):
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    process = checkout.start(READY=str(ready))
    compiler = os.pidfd_open(int(ready.read_text()))
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "interrupted; run it again" in err
    assert not checkout.stamp.exists()
    assert select.select([compiler], [], [], 30)[0], "the compiler is still at work"
    os.close(compiler)


def package(site: Path, name: str, files: list[str], record: list[str] | None) -> Path:
    for file in files:
        (site / name).mkdir(parents=True, exist_ok=True)
        (site / file).write_text("")
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    if record is not None:
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in record))
    return info


def test_repair_finds_what_a_killed_install_left(tmp_path):
    whole = package(tmp_path, "whole", ["whole/a.py"], ["whole/a.py", "whole/__pycache__/a.cpython-311.pyc"])
    lacking = package(tmp_path, "lacking", ["lacking/a.py"], ["lacking/a.py", "lacking/b.py"])
    unrecorded = package(tmp_path, "unrecorded", ["unrecorded/a.py"], None)
    aside = tmp_path / "~rch"
    aside.mkdir()
    assert set(broken(tmp_path)) == {lacking, unrecorded, aside}
    assert whole.exists()


def test_repair_reads_the_record_itself(tmp_path, monkeypatch):
    """From Python 3.12 on, and once setuptools put its own reader in front, a distribution's files are only those that exist."""
    package(tmp_path, "lacking", ["lacking/a.py"], ["lacking/a.py", "lacking/b.py"])
    existing = property(lambda self: [f for f in () if f])
    monkeypatch.setattr("importlib.metadata.Distribution.files", existing)
    assert len(broken(tmp_path)) == 1
