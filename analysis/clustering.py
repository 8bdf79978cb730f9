"""Do categories of tokens cluster, and are opposites close: tests in the full space, over updates (claims C7).

    python analysis/clustering.py runs/E1/base/seed1/dump.zarr --out DIR
    python analysis/clustering.py runs/imported/minilm/seed1 --out DIR --word-sets DIR_WITH_CSV_FILES

Each category of categories.json is tested by silhouette and k-NN purity against random sets of tokens that are alike in form and token
count, with Holm's correction; opposites against matched pairs, and against the same words paired otherwise. What tokens of one form and
count have in common is taken off each row first (category_space.py; --space). Several dumps are taken as the
seeds of one arm. The last snapshot (or --update) decides; earlier ones say when a category forms.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import category_figures
import category_tables
import category_tests
import opposites
from categories import find_tokens, words
from category_claims import decide
from category_result import ClusteringResult, SnapshotTests
from category_space import SPACES, WORDS, Space, category_rows
from category_strata import LEAST, make_strata
from category_tests import SIGNIFICANT
from claims import Claim, require_learning
from cli import parser, plain, print_table, run, write_json
from curves import spread
from dump import Dump, Table, signature
from training_log import LogError, learning_check, read_training_log
from word_sets import WordSet, read_word_sets, word_set_purity, word_sets_table

PERMUTATIONS = 19_999  # at the last snapshot: 100 tests corrected by Holm can still reach p = 0.005
EARLIER = 999  # random sets at the earlier ones, where the p-values are not corrected
SNAPSHOTS = 12  # at most


def analyse(
    dump: Dump,
    table_name: str | None = None,
    *,
    update: int | None = None,
    snapshots: int = SNAPSHOTS,
    permutations: int = PERMUTATIONS,
    space: Space = "matched",
    word_sets: Sequence[WordSet] = (),
) -> ClusteringResult:
    """Test a table at `update` (default: its last snapshot) and at earlier ones, `snapshots` in all.

    Raises DumpError: no snapshot, no such update, no counted row with a direction.
    """
    table = dump.table(table_name)
    known = table.snapshot_updates
    if not len(known):
        raise table.error("the dump lists no snapshot, and categories need one")
    last = int(known[-1]) if update is None else int(update)
    values = table.snapshot(last)
    usable = _usable(values, table)
    strata = make_strata(table.texts, table.counts, usable)
    tokens = find_tokens(table.texts, table.counts, counted=table.counted)
    counts_known = bool(table.counts[usable].any())
    members = {
        name: [row for row in rows if table.counts[row] or not counts_known] for name, rows in tokens.rows.items()
    }
    pairs = [pair for pair in tokens.opposites if table.counts[list(pair)].all() or not counts_known]
    categories, few = category_tests.prepare(members, words().grammatical, strata, permutations)
    opposed = opposites.prepare(pairs, strata, permutations)
    chosen = spread(known[known <= last], snapshots).tolist()
    found = []
    for step in chosen:
        if step != last:
            values = table.snapshot(step)
            if not _usable(values, table)[usable].all():
                continue  # rows of the pools that have no direction yet
        unit = category_rows(values if step != last else table.snapshot(last), strata, table.counts, space)
        number = permutations if step == last else min(EARLIER, permutations)
        tests = category_tests.correct([category_tests.measure(unit, category, number) for category in categories])
        against = None if opposed is None else opposites.measure(unit, opposed, number)
        found.append(SnapshotTests(step, number, tests, against))
    sets = [
        word_set_purity(unit, table.texts, entry, usable=usable, lower_case=tokens.lower_case) for entry in word_sets
    ]
    joined = len(strata.merged)
    matching = f"Random sets are alike in {strata.matched_by}; rows are taken {WORDS[space]}."
    return ClusteringResult(
        dump=str(dump.path),
        signature=signature(dump, table, last),
        snapshots=tuple(found),
        forms_at=_forms_at(found),
        few=few,
        matching=matching
        + (f" Forms of fewer than {LEAST} tokens ({joined}) stand with the form nearest to them." if joined else ""),
        word_sets=tuple(entry for entry in sets if entry is not None),
        tokens=tokens,
        texts=table.texts,
    )


def claims(results: Sequence[ClusteringResult]) -> list[Claim]:
    """C7.1 to C7.3 of one arm's seeds, before the rule about learning."""
    return decide(results)


def figures(results: Sequence[ClusteringResult], out: Path) -> list[Path]:
    """The figures of the first seed, PNG and PDF."""
    return category_figures.figures(results[0], out)


def summary(result: ClusteringResult) -> list[list[object]]:
    """One row a category at the last snapshot."""
    return category_tables.summary(result)


def _usable(values: NDArray[np.float32], table: Table) -> NDArray[np.bool_]:
    """Counted rows that have a direction and a text."""
    usable = table.counted & values.any(axis=1) & np.array([bool(text.strip()) for text in table.texts])
    if not usable.any():
        raise table.error("no counted row has a text and a norm above zero; categories need some")
    return usable


def _forms_at(found: Sequence[SnapshotTests]) -> dict[str, int]:
    formed = {}
    for place, test in enumerate(found[-1].categories):
        if not test.clustered:
            continue
        first = found[-1].update
        for snapshot in reversed(found[:-1]):
            if not snapshot.categories[place].passes:
                break
            first = snapshot.update
        formed[test.name] = first
    return formed


def _learned(claim: Claim, dumps: Sequence[Dump]) -> Claim:
    """The claim under the rule about learning; losses from the logs beside the dumps, the mean over seeds."""
    losses, entropies = [], []
    for dump in dumps:
        try:
            log = read_training_log(dump.path.parent / "log" / "train.log")
        except LogError:
            log = None
        corpus = dump.attrs.get("corpus")
        check = learning_check(log, corpus.get("unigram_entropy_bits") if isinstance(corpus, dict) else None)
        losses.append(check.valid_loss)
        entropies.append(check.unigram_entropy)
    loss = None if None in losses else float(np.mean(losses))
    return require_learning(claim, loss, entropies[0])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    line = parser(__doc__ or "")
    line.add_argument("--update", type=int, metavar="U", help="the snapshot that decides (default: the last one)")
    line.add_argument(
        "--word-sets",
        type=Path,
        metavar="DIR",
        help="folder of categorisation sets (AP, BLESS, ESSLLI) as CSV files with the columns word and category",
    )
    line.add_argument(
        "--permutations", type=int, default=PERMUTATIONS, metavar="R", help="random sets (default %(default)s)"
    )
    line.add_argument(
        "--space",
        choices=SPACES,
        default="matched",
        help="rows " + "; ".join(f"{name}: {text}" for name, text in WORDS.items()) + " (default: matched)",
    )
    chosen = line.parse_args(arguments)
    if chosen.permutations < 99:
        sys.exit(f"error: --permutations: expected at least 99, found {chosen.permutations}")
    sets = read_word_sets(chosen.word_sets) if chosen.word_sets else []
    dumps = [Dump.open(path) for path in chosen.dumps]
    results = [
        analyse(
            dump,
            chosen.table,
            update=chosen.update,
            permutations=chosen.permutations,
            space=chosen.space,
            word_sets=sets,
        )
        for dump in dumps
    ]
    decided = [_learned(claim, dumps) for claim in claims(results)]
    tests = 2 * max(len(result.last.categories) for result in results)
    if tests >= SIGNIFICANT * (1 + chosen.permutations):
        least = math.ceil(tests / SIGNIFICANT)
        print(
            f"warning: no p-value can come below {SIGNIFICANT:g}: Holm's correction over {tests} tests needs --permutations "
            f"{least:,} or more, found {chosen.permutations:,}",
            file=sys.stderr,
        )
    written = figures(results, chosen.out)
    content = {"claims": [claim.to_json() for claim in decided], "results": [plain(result) for result in results]}
    written.append(write_json(chosen.out, "clustering", content))
    for result in results:
        print(result.signature)
        print(result.matching)
        print(result.tokens.report())
        for rows in (summary(result), category_tables.opposites_table(result), word_sets_table(result.word_sets)):
            if len(rows) > 1:
                print_table(rows)
    for claim in decided:
        print(f"{claim.id} {claim.verdict}: {claim.reason}")
    print("wrote " + ", ".join(str(path) for path in written))
    return 0


if __name__ == "__main__":
    run(main)
