"""Small runs for the tests of the report: a folder as run_all leaves it, with a synthetic dump in it."""

import json
from pathlib import Path

import numpy as np
from synthetic_dump import SyntheticDump, write_synthetic_dump

HOSTILE = (
    "</script><script>window.broken=1</script>",
    '<img src=x onerror="window.broken=1">',
    "\"quoted\" & 'more'",
    "a\u2028b\u2029c",
    "\ud800",
    "{{ 7 * 7 }}",
    "<b>bold</b>",
)


def make_run(
    runs: Path,
    seed: int = 1,
    *,
    experiment: str = "E1",
    arm: str = "base",
    finished: bool = True,
    rows: int = 260,
    updates: int = 24,
) -> SyntheticDump:
    """Write one run with log, run.json and a dump in which some frequent tokens have hostile texts."""
    folder = runs / experiment / arm / f"seed{seed}"
    dump = write_synthetic_dump(folder / "dump.zarr", rows=rows, dim=12, updates=updates, seed=seed, corpus="tiny")
    table = next((folder / "dump.zarr" / "tables").iterdir())
    texts = list(dump.texts)
    plain = [row for row in np.argsort(-dump.counts) if texts[row].startswith((" word", "piece"))]
    for row, text in zip(plain, HOSTILE, strict=False):
        texts[row] = text
    (table / "tokens.json").write_text(json.dumps(texts), encoding="utf-8")
    dump.texts[:] = texts
    (folder / "log").mkdir()
    lines = [
        {"loss": f"{15 - update / 10}", "wps": "700", "ups": "1", "num_updates": str(update)}
        for update in range(2, updates + 1, 2)
    ]
    lines.append({"valid_loss": "9.25", "valid_num_updates": str(updates)})
    (folder / "log" / "train.log").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    about = {
        "experiment": experiment,
        "arm": arm,
        "seed": seed,
        "profile": "smoke",
        "command": "bash scripts/train_e1.sh",
        "finished": finished,
        "seconds": 12.5,
        "hardware": {"cores": 2},
    }
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    return dump
