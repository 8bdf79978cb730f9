"""The paragraphs of LibreOffice's help pages as plain text. Standard library only."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

Place = tuple[str, str, int]  # page (its path below the language's folder), id, which of those with this id
_PARAGRAPH = re.compile(r'<(p|h[1-6]?) id="((?:par|hd)_id[^"]*)"[^>]*>(.*?)</\1>', re.DOTALL)
_PICTURE = "\x00"  # where one stood in the text
_BEFORE_MARK = re.compile(rf"\s*{_PICTURE}\s*(?=[.,;:!?)])")


class _Text(HTMLParser):
    """The text of a paragraph, tags left out.

    Of a `switchinline` (one wording for each system or program, all but one hidden) the default is kept, else the first.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[list[tuple[bool, str]] | None] = []  # open spans; a list for a switchinline: its wordings
        self.output = [""]  # the text, and that of each open wording

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.output[-1] += _PICTURE
        elif tag == "br":
            self.output[-1] += " "
        elif tag == "span":
            within = bool(self.stack) and self.stack[-1] is not None
            self.stack.append([] if dict(attributes).get("class") == "switchinline" else None)
            if within:
                self.output.append("default " if (dict(attributes).get("id") or "").startswith("default") else "other ")

    def handle_endtag(self, tag: str) -> None:
        if tag != "span" or not self.stack:
            return
        wordings = self.stack.pop()
        if wordings is not None:
            self.output[-1] += next((text for default, text in wordings if default), wordings[0][1] if wordings else "")
        elif self.stack and self.stack[-1] is not None and len(self.output) > 1:
            kind, _, text = self.output.pop().partition(" ")
            self.stack[-1].append((kind == "default", text))

    def handle_data(self, data: str) -> None:
        self.output[-1] += data


def plain(paragraph: str) -> str:
    """The text of a paragraph's HTML: tags and pictures left out, entities resolved, white space made single."""
    parser = _Text()
    parser.feed(paragraph)
    parser.close()
    return " ".join(_BEFORE_MARK.sub("", parser.output[0]).replace(_PICTURE, " ").split())


def paragraphs(page: str, html: str) -> dict[Place, tuple[str, str]]:
    """The paragraphs and headings that have an id: (tag, text) by place, in the order of the page."""
    found: dict[Place, tuple[str, str]] = {}
    seen: Counter[str] = Counter()
    for tag, name, inside in _PARAGRAPH.findall(html):
        found[page, name, seen[name]] = (tag, plain(inside))
        seen[name] += 1
    return found
