"""A project around the real runner whose other parts are fakes, so that its behaviour shows without training or network."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FAKES = {
    "scripts/setup.sh": 'echo set-up >> calls\necho "ready"\n',
    "scripts/prepare_wikipedia_sample.sh": """
echo "corpus $*" >> calls
mkdir -p data-bin/wikipedia-sample data-bin/wikipedia-smoke
for name in wikipedia-sample wikipedia-smoke; do touch data-bin/$name/{dict.txt,train.bin,valid.bin}; done
""",
    "scripts/train_e1.sh": """
echo "train $RUN" >> calls
mkdir -p "$RUN/dump.zarr"
echo '2026-01-01 | INFO | train_inner | {"loss": "10.5", "num_updates": "10", "embed_cos": "0.25"}'
case ${FAKE:-} in
    fail) echo "the reason of the failure"; exit 3 ;;
    no-dump) exit 0 ;;
    wait) exec "$PYTHON_FOR_TESTS" -c '
import os, signal, sys
def stop(number, frame):
    open(os.environ["RUN"] + "/flushed", "w").write(signal.Signals(number).name)
    sys.exit(1)
signal.signal(signal.SIGINT, stop); signal.signal(signal.SIGTERM, stop)
open(os.environ["READY"], "w").write("ready")
while True: signal.pause()' ;;
    deaf) exec "$PYTHON_FOR_TESTS" -c '
import os, signal
heard = []
signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
open(os.environ["READY"], "w").write("ready")
while True:
    signal.pause()
    open(os.environ["READY"], "w").write("heard")' ;;
esac
echo '{}' > "$RUN/dump.zarr/zarr.json"
""",
    "scripts/select_topics.sh": 'echo "topics $*" >> calls; touch "$1/topics.npz"\n',
    "scripts/train_e3.sh": """
echo "train $RUN" >> calls
mkdir -p "$RUN/dump.zarr"
if [[ -n ${MEET:-} ]]; then  # ends only when a neighbour is there
    if mkdir "$MEET/first" 2>/dev/null; then cat "$MEET/fifo" > /dev/null; else echo here > "$MEET/fifo"; rmdir "$MEET/first"; fi
fi
[[ $RUN != */${FAIL:-none}/* ]] || { echo "the reason of the failure"; exit 3; }
echo '{}' > "$RUN/dump.zarr/zarr.json"
""",
    "scripts/train_e5.sh": """
echo "train $RUN $ARM $UNTIED" >> calls
mkdir -p "$RUN/dump.zarr"
[[ $RUN != */${FAIL:-none}/* ]] || { echo "the reason of the failure"; exit 3; }
echo '{}' > "$RUN/dump.zarr/zarr.json"
""",
    "scripts/prepare_shuffled.sh": """
echo "shuffled $*" >> calls
mkdir -p "$1-shuffled"
touch "$1-shuffled"/{dict.txt,train.bin,valid.bin}
""",
    "scripts/train_e2.sh": """
echo "train $RUN $DATA" >> calls
mkdir -p "$RUN/dump.zarr"
echo '{}' > "$RUN/dump.zarr/zarr.json"
""",
    "scripts/prepare_libreoffice_help.sh": """
echo "pairs $*" >> calls
[[ -z ${NO_PAIRS:-} ]] || { echo "error: neither apt nor network"; exit 1; }
mkdir -p data-bin/libreoffice-smoke
touch data-bin/libreoffice-smoke/{corpus.json,sentencepiece.model}
""",
    "scripts/train_e4.sh": """
echo "train $RUN $SHARE" >> calls
mkdir -p "$RUN/dump.zarr"
echo '{}' > "$RUN/dump.zarr/zarr.json"
""",
    ".venv/bin/python": """
if [[ $1 == -m && $2 == fairseq_ext.translate* ]]; then
    echo "$*" >> calls
    [[ -d $3/log ]] && mkdir -p "$3/translation" && touch "$3/translation/translation.json" "$3/model.json"
    while (($#)); do [[ $1 == --out ]] && touch "$2"; shift; done
    exit 0
fi
if [[ $1 == -m && $2 == fairseq_ext.evaluate.layers ]]; then
    echo "layers $*" >> calls
    for word in "$@"; do [[ -d $word/dump.zarr ]] && touch "$word/parameters.npz" "$word/layers.npz"; done
    exit 0
fi
if [[ $1 == -m ]]; then
    echo "evaluate $*" >> calls
    for word in "$@"; do [[ -d $word ]] && touch "$word/evaluation.npz"; done
    exit 0
fi
echo "report $*" >> calls
while (($#)); do [[ $1 == --out ]] && out=$2; shift; done
mkdir -p "$out" && touch "$out/index.html" "$out/report.json"
""",
}


@dataclass(frozen=True)
class Project:
    """A copy of the runner with fakes around it."""

    root: Path

    def start(self, *options: str, **environment: str) -> subprocess.Popen[str]:
        env = {**os.environ, "PYTHON": sys.executable, "PYTHON_FOR_TESTS": sys.executable, **environment}
        return subprocess.Popen(
            [sys.executable, "scripts/run_all.py", *options],
            cwd=self.root,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *options: str, **environment: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        process = self.start(*options, **environment)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def calls(self) -> list[str]:
        """What the fakes were called for since the last look, the set-up aside."""
        path = self.root / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line for line in lines if line != "set-up"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    (root / "scripts").mkdir(parents=True)
    for name in ("run_all.sh", "run_all.py"):
        shutil.copy(ROOT / "scripts" / name, root / "scripts")
    shutil.copytree(ROOT / "scripts/experiments", root / "scripts/experiments")
    for name, text in FAKES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/usr/bin/env bash\nset -euo pipefail\n" + text)
        path.chmod(0o755)
    return Project(root)
