"""An interactive map of tokens in one offline HTML file: search, groups, categories, and each token's course.

    python analysis/token_map.py runs/E1/base/seed1/dump.zarr --out DIR
    python analysis/token_map.py runs/E1/base/seed1/dump.zarr --out DIR --points 10000 --snapshots 6 --space centred

The page holds the t-SNE maps of a few snapshots, each carried over from the one after it, and for every token its norm,
its mean cosine to all others, its cosine to the common vector and its nearest neighbours in the full space. It asks the
network for nothing. A map is a picture and no evidence; the page says how many of the real neighbours it keeps.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import map_data
import projection
from cli import run
from dump import Dump
from page import TEMPLATES, script_json

NAME = "token_map.html"
SCRIPTS = ("map_data.js", "map_view.js", "map_draw.js", "map_search.js", "map_panel.js", "map.js")


def render(content: dict[str, Any]) -> str:
    """The page as HTML, from what `map_data.content` gives. Token texts stand only in the JSON, escaped for a script."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    code = {name: Markup((TEMPLATES / name).read_text(encoding="utf-8")) for name in ("map.css", *SCRIPTS)}
    data = content["data"]  # base64: nothing to escape, and it needs no reading as JSON
    rest = {key: value for key, value in content.items() if key != "data"}
    return environment.get_template("map.html.j2").render(
        title=content["title"],
        updates=content["updates"],
        tokens=content["layout"][0]["shape"][1],
        groups=content["groups"],
        coverage=content["coverage"],
        settings=content["settings"],
        centred=content["space"] == "centred",
        style=code.pop("map.css"),
        scripts=list(code.values()),
        json=script_json(rest),
        data=Markup(data),
    )


def write(content: dict[str, Any], out: Path) -> Path:
    """Write the page into the folder `out` under a temporary name and rename it; the path."""
    text = render(content)
    out.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=out, prefix=f".{NAME}.")
    path = Path(temporary)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        path.chmod(0o644)
        return path.replace(out / NAME)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def main(arguments: Sequence[str] | None = None) -> int:
    options = projection.map_options(__doc__ or "", points="all", snapshots=6)
    options.add_argument(
        "--neighbours",
        choices=get_args(map_data.Which),
        default="all",
        help="at which updates of the map nearest tokens are looked for: all (default), first, middle and last, or none",
    )
    chosen = projection.read_options(options, arguments)
    begun = time.perf_counter()

    def progress(line: str) -> None:
        print(f"{time.perf_counter() - begun:6.0f} s  {line}", file=sys.stderr, flush=True)

    dump = Dump.open(chosen.dumps[0])
    table = dump.table(chosen.table)
    result = projection.analyse_chosen(dump, chosen, progress)
    courses, near = map_data.measure(table, result, chosen.neighbours, progress)
    settings = f"PCA to 50 components, t-SNE with perplexity {chosen.perplexity:g}, seed {chosen.seed}"
    path = write(map_data.content(dump, table, result, courses, near, settings=settings), chosen.out)
    print(projection.summary(result))
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    run(main)
