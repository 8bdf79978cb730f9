"""Lines of text: cutting long ones, and recognising the same line again."""

from __future__ import annotations

import hashlib
import re

_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*\s+(?=\S)")
_SPACE = re.compile(r"\s+(?=\S)")
_HEADING = re.compile(r"=( =)* .* =( =)*")


def halve(text: str) -> tuple[str, str]:
    """Cut a text in two near its middle: at a sentence's end if one lies in the middle half, else at a space, else between characters.

    Both parts are stripped of white space and, for a stripped text of at least two characters, not empty.
    """
    middle = len(text) / 2
    for pattern, low, high in ((_SENTENCE_END, 0.25, 0.75), (_SPACE, 0.05, 0.95)):
        cuts = [match.end() for match in pattern.finditer(text) if low * len(text) <= match.end() <= high * len(text)]
        if cuts:
            cut = min(cuts, key=lambda position: (abs(position - middle), position))
            return text[:cut].rstrip(), text[cut:]
    cut = len(text) // 2
    return text[:cut].rstrip() or text[:cut], text[cut:].lstrip() or text[cut:]


def fingerprint(text: str) -> bytes:
    """16 bytes that are equal for lines which differ only in white space and case."""
    return hashlib.blake2b(" ".join(text.casefold().split()).encode(), digest_size=16).digest()


def is_heading(text: str) -> bool:
    """Is the (stripped) line a WikiText heading of any level, such as `= = Description = =`?"""
    return _HEADING.fullmatch(text) is not None
