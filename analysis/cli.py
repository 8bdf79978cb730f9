"""What the command lines of the question modules share: arguments, one-line errors, safe JSON, the printed table."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dump import Dump, DumpError
from geometry import GeometryError
from places import argument

NOT_IN_JSON = {"json": False}  # metadata of a dataclass field that holds a number for each token


def parser(description: str, *, dumps: str = "+") -> argparse.ArgumentParser:
    """The shared arguments: one or more dumps, --out, --table. The description is a module's docstring."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument(
        "dumps", nargs=dumps, type=argument, metavar="DUMP", help="dump.zarr, its run's folder, or a URL"
    )
    result.add_argument("--out", type=Path, required=True, metavar="DIR", help="where figures and the JSON file go")
    result.add_argument("--table", metavar="NAME", help="the table to analyse (default: the dump's main table)")
    return result


def run(main: Callable[[], int | None]) -> None:
    """Call `main` and exit: bad input and unwritable output end in one line on stderr and exit status 1."""
    try:
        status = main()
    except (DumpError, GeometryError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or ''}: {error.strerror or error}; choose another folder or free some space")
    except KeyboardInterrupt:
        sys.exit("interrupted")
    sys.exit(status or 0)


def question(module: ModuleType, name: str, arguments: Sequence[str] | None = None) -> int:
    """The whole command of a question module: analyse every dump, write figures and `name.json`, print verdicts.

    The dumps are taken as the seeds of one arm. The module has `analyse`, `claims`, `figures` and `summary`, and may
    have `OPTIONS`, a dict of further options of type int, each named like a parameter of `analyse`, with its help text.
    """
    line = parser(module.__doc__ or "")
    options: dict[str, str] = getattr(module, "OPTIONS", {})
    for option, text in options.items():
        line.add_argument(f"--{option}", type=int, metavar="N", help=text)
    chosen = line.parse_args(arguments)
    given = {option: getattr(chosen, option) for option in options if getattr(chosen, option) is not None}
    results = [module.analyse(Dump.open(path), chosen.table, **given) for path in chosen.dumps]
    decided = module.claims(results)
    written = module.figures(results, chosen.out)
    content = {"claims": [claim.to_json() for claim in decided], "results": [plain(result) for result in results]}
    written.append(write_json(chosen.out, name, content))
    for result in results:
        print(result.signature)
        print_table(module.summary(result))
    for claim in decided:
        print(f"{claim.id} {claim.verdict}: {claim.reason}")
    print("wrote " + ", ".join(str(path) for path in written))
    return 0


def print_table(rows: Iterable[Sequence[Any]]) -> None:
    """Print rows in aligned columns; floats with 4 digits after the point."""
    cells = [[f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([first.strip().ljust(widths[0]), *rest]))


def plain(value: Any) -> Any:
    """Dataclasses, arrays and paths as plain JSON values; NaN and infinity as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.metadata.get("json", True)]
        return {name: plain(getattr(value, name)) for name in fields}
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def write_json(out: Path, name: str, content: Any) -> Path:
    """Write `out/name.json` to a temporary name and rename it; the path."""
    return write_text(
        out, f"{name}.json", json.dumps(plain(content), ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    )


def write_text(out: Path, name: str, text: str) -> Path:
    """Write the file `out/name` to a temporary name and rename it; the path. Creates `out`. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    target = out / name
    handle, temporary = tempfile.mkstemp(dir=out, prefix=f".{target.stem}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target
