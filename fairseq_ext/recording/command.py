"""The command: ``check`` and ``prune``, their options, and what is printed."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from ..errors import UserError
from .dump_check import check_dump
from .findings import DAMAGED, WHOLE, Findings
from .location import is_url
from .pruning import Request, prune
from .schedule import SYNTAX, Schedule
from .telling import COMMAND, advise, lines

SORTS = ("snapshots", "windows", "traces", "statistics", "cause", "moments", "state", "exposure")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and end the process with status 2."""

    def error(self, message: str) -> Any:
        print(f"error: {' '.join(message.split())}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def folder(text: str) -> Path:
    """The folder that is named, also as ``file:///...``; other URLs are refused."""
    if text.startswith("file:///"):
        return Path(text.removeprefix("file://"))
    if is_url(text):
        raise argparse.ArgumentTypeError(f"expected a folder, found {text}; copy the dump here first (docs/remote.md)")
    return Path(text)


def parser() -> argparse.ArgumentParser:
    result = Parser(prog=COMMAND, description="Look after recordings (docs/dump-format.md).", allow_abbrev=False)
    kinds = result.add_subparsers(dest="kind", required=True, parser_class=Parser, metavar="check|prune")

    check = kinds.add_parser(
        "check",
        help="read every listed record and say whether it is whole",
        description="Read every record that a dump lists, and say whether it is whole. Changes nothing. Exit status: 0 whole, 1 damaged, 2 no dump.",
        allow_abbrev=False,
    )
    check.add_argument("dumps", nargs="+", type=folder, metavar="DUMP", help="a dump.zarr, or the run's folder")
    check.add_argument("--json", action="store_true", help="print all that was found as JSON")

    thin = kinds.add_parser(
        "prune",
        help="keep the records that schedules name",
        description="Keep the records that schedules name. A stream without a schedule stays as it is; of one with a schedule the first and the "
        f"last record stay as well, and of windows what they are built on, from the keyframe on. A schedule: {SYNTAX}.",
        allow_abbrev=False,
    )
    thin.add_argument("dump", type=folder, metavar="DUMP", help="a dump.zarr, or the run's folder")
    for sort in SORTS:
        thin.add_argument(f"--{sort}", metavar="SCHEDULE", help=f"which records of {sort} are kept (default: all)")
    place = thin.add_mutually_exclusive_group()
    place.add_argument("--out", type=folder, metavar="NEW_DUMP", help="where the pruned dump is written")
    place.add_argument(
        "--in-place", action="store_true", help="replace the dump, once the pruned one is written and checked"
    )
    thin.add_argument(
        "--drop-damaged", action="store_true", help="leave out records that cannot be read, instead of refusing"
    )
    thin.add_argument(
        "--strict", action="store_true",
        help="keep what the schedules name and no more: neither first nor last record on top; with none a stream is left out",
    )  # fmt: skip
    thin.add_argument("--dry-run", action="store_true", help="only say what would be kept")
    return result


def main(argv: list[str] | None = None) -> None:
    """Run the command; bad input raises :class:`UserError`, which ends the process with one line.

    Raises:
        SystemExit: with status 1 for a damaged dump, 2 for what is no dump and for options that are no options.
    """
    given = parser()
    options = given.parse_args(argv)
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if options.kind == "check":
        status = _check(options.dumps, options.json)
        if status:
            sys.exit(status)
        return
    schedules = {
        sort: Schedule.parse(text, f"--{sort}") for sort in SORTS if (text := getattr(options, sort)) is not None
    }
    if not schedules and not options.drop_damaged:
        given.error(
            "prune: expected --snapshots, --windows, --traces, --statistics or --exposure, or --drop-damaged; found none"
        )
    if options.out is None and not options.in_place and not options.dry_run:
        given.error("prune: expected --out NEW_DUMP or --in-place; found neither")
    request = Request(
        options.dump, schedules, options.out, options.strict, options.drop_damaged, options.dry_run
    )  # fmt: skip
    print("\n".join(prune(request)), flush=True)


def _check(dumps: list[Path], as_json: bool) -> int:
    """Check dumps one after the other; returns the exit status."""
    checked: list[Findings] = []
    for path in dumps:
        try:
            found = check_dump(path)
        except OSError as error:
            raise UserError(f"{error.filename or path}: {error.strerror or error}; check the path and the permissions") from error  # fmt: skip
        found.advice = advise(found)
        checked.append(found)
        if not as_json:
            print("\n".join(lines(found)), flush=True)
    verdicts = [found.verdict for found in checked]
    status = 1 if DAMAGED in verdicts else 0 if set(verdicts) == {WHOLE} else 2
    if as_json:
        report = {"exit_status": status, "dumps": [found.json() for found in checked]}
        print(json.dumps(report, indent=1, ensure_ascii=False), flush=True)
    elif len(checked) > 1:
        counted = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        print(f"{len(checked)} dumps: {counted}", flush=True)
    return status
