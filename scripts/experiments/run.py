"""The command line of run_all.sh."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import cause
from .execute import Interrupted, StageError, execute, lock
from .known_corpora import CORPORA, PAIRS
from .plan import plan
from .profiles import DEFAULT, PROFILES
from .progress import duration
from .registry import EXPERIMENTS
from .sizes import Corpus, Profile
from .stages import (
    ROOT,
    Context,
    Stage,
    corpus_stages,
    never_measured,
    read_json,
    report_stage,
    setup_stage,
    shown,
    time_left,
)


class UsageError(Exception):
    """What the user gave cannot be used; the message is one line."""


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="run_all.sh",
        allow_abbrev=False,
        description="Runs the experiments of a profile, from set-up to report. Finished stages are skipped, an interrupted training resumes.",
        epilog="The default profile uses runs/ and report/, another one runs/PROFILE/ and report/PROFILE/.",
    )
    result.add_argument("--profile", default=DEFAULT, choices=list(PROFILES), help=f"how large (default: {DEFAULT})")
    result.add_argument("--only", metavar="E1[,E2]", help=f"these of {', '.join(EXPERIMENTS)} (default: all)")
    result.add_argument(
        "--seeds", metavar="N|LIST", help="a number of seeds (3 means 1,2,3), or a list such as 4,7 (4, for one)"
    )
    result.add_argument(
        "--arms",
        metavar="NAME[,NAME]",
        help="of E5 these arms, such as adam,coupled-untied (with --only E5; default: all)",
    )
    result.add_argument("--corpus", metavar="NAME", help=f"{', '.join(CORPORA)}, or a corpus of yours below data-bin")
    result.add_argument(
        "--pairs",
        metavar="NAME",
        help=f"corpus of sentence pairs for E4: {', '.join(PAIRS)}, or one of yours below data-bin (default: the profile's)",
    )
    result.add_argument("--runs", metavar="DIR", type=Path, help="folder of the runs")
    result.add_argument("--data-bin", metavar="DIR", type=Path, help="folder of the corpora (default: data-bin)")
    result.add_argument("--report", metavar="DIR", type=Path, help="folder of the report")
    result.add_argument(
        "--dry-run",
        action="store_true",
        help="print every command that would run, one a line, and the plan: what each training takes in disk, memory and time",
    )
    result.add_argument("--list", action="store_true", help="print profiles, experiments and stages")
    return result


def main(argv: Sequence[str]) -> int:
    """Run; returns the exit status: 0, 1 (a stage failed), 2 (usage), 128 + signal."""
    arguments = parser().parse_args(argv)
    try:
        if arguments.list:
            return show_list()
        context = make_context(arguments)
        stages = all_stages(replace(context, arms=arms(arguments, context.profile)), experiments(arguments.only))
        if arguments.dry_run:
            return dry_run(stages, plan(context.profile.name, stages, context.runs))
        with lock(context.runs):
            left_out = execute(stages, sys.stdout)
    except UsageError as error:
        print(f"run_all: {error}", file=sys.stderr)
        return 2
    except StageError as error:
        print(f"run_all: {error}", file=sys.stderr)
        return 1
    except Interrupted as stop:
        again = " ".join(["bash scripts/run_all.sh", *map(shlex.quote, argv)])
        print(f"run_all: stopped by {stop}; the same command goes on from here: {again}", file=sys.stderr)
        return 128 + stop.number
    print(f"report: {shown(context.report / 'index.html')}")
    for name in left_out:
        print(f"run_all: {name} is not in it: {left_out[name].splitlines()[-1].strip()}", file=sys.stderr)
    return 1 if left_out and arguments.only else 0


def make_context(arguments: argparse.Namespace) -> Context:
    """Check the options. Raises UsageError."""
    profile = PROFILES[arguments.profile]
    below = "" if profile.name == DEFAULT else profile.name
    data_bin = (arguments.data_bin or ROOT / "data-bin").absolute()
    chosen, languages = pairs(arguments.pairs, profile, data_bin)
    return Context(
        profile=profile,
        seeds=seeds(arguments.seeds, profile),
        asked=arguments.seeds is not None,
        runs=(arguments.runs or ROOT / "runs" / below).absolute(),
        data_bin=data_bin,
        report=(arguments.report or ROOT / "report" / below).absolute(),
        corpus=corpus(arguments.corpus, profile, data_bin),
        pairs=chosen,
        languages=languages,
    )


def seeds(text: str | None, profile: Profile) -> tuple[int, ...]:
    """`3` is 1, 2, 3; `4,7` is 4 and 7; `4,` is 4. Raises UsageError."""
    if text is None:
        return profile.seeds
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if "," not in text and numbers:
        numbers = list(range(1, numbers[0] + 1))
    if not numbers or min(numbers) < 0 or len(set(numbers)) != len(numbers):
        raise UsageError(f"--seeds: expected a number of seeds or a list of different ones such as 1,2,5; found {text}")
    return tuple(numbers)


def arms(arguments: argparse.Namespace, profile: Profile) -> tuple[str, ...]:
    """The arms of E5 that were asked for; none: all of them. Raises UsageError."""
    if arguments.arms is None:
        return ()
    if experiments(arguments.only) != [cause.EXPERIMENT]:
        raise UsageError(f"--arms: expected --only {cause.EXPERIMENT} with it, whose arms can be chosen")
    chosen = [part.strip() for part in arguments.arms.split(",") if part.strip()]
    known = cause.arms(profile)
    if not chosen or not set(chosen) <= set(known):
        raise UsageError(
            f"--arms: expected a list of {', '.join(known) or 'no arm, for the profile has none'}; found {arguments.arms}"
        )
    return tuple(chosen)


def corpus(name: str | None, profile: Profile, data_bin: Path) -> Corpus:
    """The profile's corpus or the one that was asked for. Raises UsageError."""
    if name is None or name == profile.corpus.name:
        return profile.corpus
    if name in CORPORA:
        return CORPORA[name]
    if not (data_bin / name / "dict.txt").is_file():
        known = ", ".join(CORPORA)
        raise UsageError(
            f"--corpus {name}: expected {known} or a prepared corpus, found no {shown(data_bin / name)}/dict.txt; "
            f"make it with bash scripts/prepare_text.sh --name {name} PATH..."
        )
    return Corpus(name)


def pairs(name: str | None, profile: Profile, data_bin: Path) -> tuple[Corpus | None, tuple[str, str]]:
    """The profile's corpus of pairs or the one that was asked for, and its source and target language. Raises UsageError."""
    own = profile.sharing.corpus if profile.sharing else None
    chosen = own if name is None or (own is not None and name == own.name) else PAIRS.get(name)
    wanted = name or (chosen.name if chosen else "")
    known = read_json(data_bin / wanted / "corpus.json").get("languages") if wanted else None
    if isinstance(known, list) and len(known) == 2:
        return chosen or Corpus(wanted), (str(known[0]), str(known[1]))
    if chosen is not None or name is None:
        return chosen, chosen.languages if chosen else ("en", "de")
    raise UsageError(
        f"--pairs {name}: expected {', '.join(PAIRS)} or a prepared corpus of sentence pairs, found none in {shown(data_bin / name)}; "
        f"make it with bash scripts/prepare_pairs.sh --name {name} --source-lang XX --target-lang YY SOURCE_FILE TARGET_FILE"
    )


def experiments(only: str | None) -> list[str]:
    """The experiments to run, in the registry's order. Raises UsageError."""
    if only is None:
        return [name for name, experiment in EXPERIMENTS.items() if experiment.stages]
    chosen = [part.strip().upper() for part in only.split(",") if part.strip()]
    unknown = [name for name in chosen if name not in EXPERIMENTS]
    if unknown or not chosen:
        raise UsageError(f"--only: expected a list of {', '.join(EXPERIMENTS)}; found {only}")
    absent = [name for name in chosen if not EXPERIMENTS[name].stages]
    if absent:
        there = ", ".join(name for name, experiment in EXPERIMENTS.items() if experiment.stages)
        raise UsageError(f"--only: {', '.join(absent)} is not there yet in this version; there is {there}")
    return [name for name in EXPERIMENTS if name in chosen]


def all_stages(context: Context, chosen: Sequence[str]) -> list[Stage]:
    """Set-up, corpus, the experiments' own stages, report. Raises UsageError where the profile holds nothing of what was asked for."""
    own: list[Stage] = []
    for name in chosen:
        make = EXPERIMENTS[name].stages
        made = make(context) if make else []
        if not made and len(chosen) == 1:
            sizes = ", ".join(p.name for p in PROFILES.values() if make and make(replace(context, profile=p)))
            raise UsageError(
                f"--only {name}: the profile {context.profile.name} has no size for it; these have: {sizes}"
            )
        own += made
    text = corpus_stages(context) if any(EXPERIMENTS[name].text for name in chosen) else []
    return [setup_stage(context), *text, *own, report_stage(context, own)]


def dry_run(stages: Sequence[Stage], planned: Sequence[str]) -> int:
    """Print the commands on standard output, after them the plan as comments; what is finished and the times on standard error."""
    if Path.cwd() != ROOT:
        print(f"cd {shlex.quote(str(ROOT))}")
    for stage in stages:
        if stage.is_finished():
            print(f"# {stage.name}: finished", file=sys.stderr)
            continue
        print(stage.line())
    for line in planned:
        print(line)
    unknown = " and what was never measured" if never_measured(stages) else ""
    print(f"# about {duration(time_left(stages))}{unknown} after set-up", file=sys.stderr)
    return 0


def show_list() -> int:
    print("profiles:")
    for profile in PROFILES.values():
        size = profile.base
        print(f"  {profile.name:9} {profile.purpose}")
        print(
            f"  {'':9} E1: {profile.corpus.name}, {size.layers} layers of width {size.dim}, {size.updates} updates of {size.batch} "
            f"examples, seeds {','.join(map(str, profile.seeds))}"
        )
        sharing = profile.sharing
        if sharing:
            print(
                f"  {'':9} E4: {sharing.corpus.name}, {len(sharing.arms)} arms, {sharing.layers} + {sharing.layers} layers of width {sharing.dim}, "
                f"{sharing.updates} updates of {sharing.tokens} tokens"
            )
        cause = profile.cause
        if cause:
            print(
                f"  {'':9} E5: {profile.corpus.name}, {len(cause.arms)} arms, {len(cause.untied)} untied, {cause.layers} layers of width {cause.dim}, "
                f"{cause.updates} updates of {cause.tokens} tokens"
            )
    print("experiments:")
    for experiment in EXPERIMENTS.values():
        print(f"  {experiment.id:9} {experiment.title}" + ("" if experiment.stages else " (not there yet)"))
    return 0
