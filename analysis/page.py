"""The report's page: blocks and sections, rendered by jinja2 into one offline HTML file.

Everything that comes from data (token texts above all) is escaped: by jinja2 in HTML, by `script_json` inside script
elements, and by report.js where Plotly would read HTML in a label.
"""

from __future__ import annotations

import base64
import io
import json
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image
from plotly.offline import get_plotlyjs

TEMPLATES = Path(__file__).with_name("templates")
WIDEST = 1000  # CSS pixels of a figure
SCALE = 0.68  # CSS pixels for one of the file: text of 10 points as large as the page's


@dataclass
class Section:
    """A part of the page: `id` is its anchor, `blocks` are dictionaries that `templates/report.html.j2` knows."""

    id: str
    title: str
    blocks: list[dict[str, Any]] = field(default_factory=list)

    def heading(self, id: str, text: str) -> None:
        self.blocks.append({"kind": "heading", "id": id, "text": text})

    def text(self, text: str) -> None:
        self.blocks.append({"kind": "text", "text": text})

    def signature(self, text: str) -> None:
        self.blocks.append({"kind": "signature", "text": text})

    def table(self, caption: str, head: list[str], rows: list[list[str]], *, prose: bool = False) -> None:
        """`prose`: the cells hold sentences, which may be broken into lines, and not numbers."""
        self.blocks.append({"kind": "table", "caption": caption, "head": head, "rows": rows, "prose": prose})

    def figure(self, png: Path, alt: str, caption: str, file: str | None = None) -> None:
        """Embed the PNG file; `alt` says what it shows to those who do not see it."""
        content, (width, height) = small_png(png)
        shown = min(round(width * SCALE), WIDEST)
        self.blocks.append(
            {
                "kind": "figure",
                "source": "data:image/png;base64," + base64.b64encode(content).decode("ascii"),
                "width": shown,
                "height": round(height * shown / width),
                "alt": alt,
                "caption": caption,
                "file": file,
            }
        )

    def explorer(self, id: str, data: dict[str, Any], captions: dict[str, str | None]) -> None:
        """The interactive plots; `captions` has the keys scatter_alt, scatter_caption, map_alt, map_caption."""
        last = len(data["updates"]) - 1
        self.blocks.append({"kind": "explorer", "id": id, "last": last, "data": script_json(data), **captions})


def small_png(path: Path) -> tuple[bytes, tuple[int, int]]:
    """The image with a palette of 256 colours, which a figure hardly shows and which halves it; width and height."""
    with Image.open(path) as image:
        buffer = io.BytesIO()
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        return buffer.getvalue(), image.size


def script_json(data: Any) -> Markup:
    """JSON that is safe inside a script element: no `<`, `>`, `&` or line separator stands in it as such."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text.encode("utf-8", "replace").decode("utf-8"))  # a lone surrogate has no UTF-8


def shown(text: str, most: int = 40) -> str:
    """A token's text for readers: in quotes, so that its spaces show, with what cannot be seen written as escapes."""
    parts = [
        f"\\u{ord(character):04x}"
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        else character
        for character in text[:most]
    ]
    return "“" + "".join(parts) + ("…" if len(text) > most else "") + "”"


def render(page: dict[str, Any]) -> str:
    """The whole page as HTML. Plotly's code is put in only where a section has interactive plots."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    interactive = any(block["kind"] == "explorer" for section in page["sections"] for block in section.blocks)
    return environment.get_template("report.html.j2").render(
        page=page,
        style=_template("report.css"),
        script=_template("report.js"),
        plotlyjs=Markup(get_plotlyjs()) if interactive else None,
    )


def _template(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
