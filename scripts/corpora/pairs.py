"""Sentence pairs: what counts as the same sentence, which pairs are left out, and how they are split. Standard library only."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from corpora.errors import CorpusError

Pair = tuple[str, str]  # source, target: white space made single
HELD_OUT = 2000  # distinct sources of each held-out split, where the source has no published one
SHARE = 10  # a small corpus gives a tenth of its distinct sources to each
RATIO_ALLOWANCE = 3  # words that the longer side may have beyond the ratio: "Yes." and "Ja, das stimmt so."


@dataclass(frozen=True)
class Limits:
    """What a training pair must keep to."""

    max_words: int
    max_ratio: float
    identical: bool = True  # may both sides be the same text?


@dataclass(frozen=True)
class Splits:
    """The pairs of each split. `dropped` counts what was left out, by reason; `rule` says in words how the split was made."""

    train: list[Pair]
    valid: list[Pair]
    test: list[Pair]
    rule: str
    dropped: dict[str, int] = field(default_factory=dict)

    def by_name(self) -> dict[str, list[Pair]]:
        return {"train": self.train, "valid": self.valid, "test": self.test}


def tidy(text: str) -> str:
    """The text on one line: each run of white space (line ends of any kind too) becomes a space, none at the ends."""
    return " ".join(text.split())


def key(text: str) -> str:
    """What sentences are compared by: Unicode NFKC, case folding, white space made single; characters that sentencepiece removes or takes for
    white space (controls, formats, U+FFFD) count as white space."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(" " if _is_blank(character) else character for character in folded).split())


def is_empty(text: str) -> bool:
    """Has the text nothing but white space and characters that sentencepiece takes for it or removes (controls, formats, U+FFFD)?"""
    return all(_is_blank(character) for character in text)


def _is_blank(character: str) -> bool:
    return character in "▁\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp")


def filtered(pairs: Iterable[Pair], limits: Limits) -> tuple[list[Pair], dict[str, int]]:
    """The pairs that keep to the limits, in their order, the first of each distinct pair; and how many were left out for which reason."""
    dropped = dict.fromkeys(("empty_side", "identical_sides", "too_many_words", "length_ratio", "repeated_pairs"), 0)
    kept: list[Pair] = []
    seen: set[bytes] = set()
    for source, target in pairs:
        reason = _reason(source, target, limits)
        if reason is None:
            digest = _digest(f"{key(source)}\n{key(target)}")
            if digest in seen:
                reason = "repeated_pairs"
            seen.add(digest)
        if reason is None:
            kept.append((source, target))
        else:
            dropped[reason] += 1
    return kept, dropped


def _reason(source: str, target: str, limits: Limits) -> str | None:
    if is_empty(source) or is_empty(target):
        return "empty_side"
    if not limits.identical and source == target:
        return "identical_sides"
    fewer, more = sorted((len(source.split()), len(target.split())))
    if more > limits.max_words:
        return "too_many_words"
    if more > limits.max_ratio * fewer + RATIO_ALLOWANCE:
        return "length_ratio"
    return None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def rank(text: str, seed: int) -> bytes:
    """A number as good as random that depends on the sentence (as compared) and the seed alone."""
    return _digest(f"{seed}\n{key(text)}")


def split_by_source(pairs: list[Pair], seed: int, dropped: dict[str, int], held_out: int = HELD_OUT) -> Splits:
    """Hold out `held_out` distinct sources for validation and as many for test, a tenth of them where there are few.

    They are those whose hash with the seed is lowest, whatever their order. Of a held-out source's pairs the first is kept. Raises
    CorpusError where there are fewer than ten distinct sources.
    """
    of = [key(source) for source, _ in pairs]
    distinct = set(of)
    number = min(held_out, len(distinct) // SHARE)
    if not number:
        raise CorpusError(
            f"at least {SHARE} distinct source sentences were expected, to hold some out for validation and test, {len(distinct)} are left "
            "after the filters; give more pairs, or raise --max-words and --max-ratio"
        )
    order = sorted(distinct, key=lambda text: (rank(text, seed), text))
    split_of = dict.fromkeys(order[:number], "test") | dict.fromkeys(order[number : 2 * number], "valid")
    parts: dict[str, list[Pair]] = {"train": [], "valid": [], "test": []}
    held: set[str] = set()
    further = 0
    for pair, name in zip(pairs, of, strict=True):
        split = split_of.get(name, "train")
        if split != "train":
            if name in held:
                further += 1
                continue
            held.add(name)
        parts[split].append(pair)
    rule = (
        f"{number:,} distinct source sentences for test and {number:,} for validation, chosen by a hash of the sentence and the seed {seed}, one "
        "pair of each; all pairs of the other sources are training pairs"
    )
    return Splits(**parts, rule=rule, dropped={**dropped, "further_pairs_of_held_out_sources": further})


def published(train: list[Pair], valid: list[Pair], test: list[Pair], rule: str, dropped: dict[str, int]) -> Splits:
    """Keep the splits as they are, but for the training pairs whose source is one of the validation or test split's.

    Raises CorpusError where a held-out pair has an empty side, a split has no pair, or no training pair is left.
    """
    for split, pairs in (("validation", valid), ("test", test)):
        for number, (source, target) in enumerate(pairs, start=1):
            if is_empty(source) or is_empty(target):
                side = "source" if is_empty(source) else "target"
                raise CorpusError(
                    f"{split} pair {number:,} has an empty {side} side; nothing of a {split} set is left out: give the whole file"
                )
        if not pairs:
            raise CorpusError(f"the {split} split has no pairs; give another file")
    held = {key(source) for source, _ in (*valid, *test)}
    kept = [pair for pair in train if key(pair[0]) not in held]
    return Splits(kept, valid, test, rule, {**dropped, "source_in_held_out_text": len(train) - len(kept)})


def limited(splits: Splits, limit: int | None, seed: int) -> Splits:
    """The splits cut to `limit` training pairs and an eighth of that in each held-out one, chosen by a hash, in their order."""
    if limit is None:
        return splits

    def some(pairs: list[Pair], number: int) -> list[Pair]:
        order = sorted(range(len(pairs)), key=lambda index: (rank(pairs[index][0], seed + 1), index))
        return [pairs[index] for index in sorted(order[:number])]

    fewer = max(1, limit // 8)
    return replace(
        splits,
        train=some(splits.train, limit),
        valid=some(splits.valid, fewer),
        test=some(splits.test, fewer),
        rule=f"{splits.rule}; of these {limit:,} training pairs and {fewer:,} of each held-out split at most, chosen by a hash of the source",
    )
