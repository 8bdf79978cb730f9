"""What a recording will take, as fairseq_ext itself estimates it before training. Known once the set-up has been made."""

from __future__ import annotations

import functools
import logging
import math
from typing import Any, NamedTuple

# Streams by their schedules; movement is a part of statistics.
STREAMS = ("snapshots", "windows", "traces", "statistics", "movement", "exposure", "cause", "moments", "trace_state")


class Recording(NamedTuple):
    """A recording's bytes by stream until the last update."""

    streams: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.streams.values())


def recording(
    schedules: dict[str, str], tables: tuple[tuple[int, int], ...], *, tokens: float, counters: int, updates: int
) -> Recording | None:
    """The estimate, an upper one; None before the set-up.

    Args:
        schedules: by stream, as the options `--record-STREAM`; a stream that is missing has its default.
        tables: rows and dimension of each.
        tokens: of the training split: no token count, and so no frequency group, goes beyond.
        counters: of exposure.
        updates: the last one.
    """
    return _estimate(schedules, tables, tokens, counters, updates)


def every_update(tables: tuple[tuple[int, int], ...], *, tokens: float, updates: int) -> dict[str, int] | None:
    """Bytes of whole tables at every update, `raw` and in each encoding of windows; None before the set-up. Arguments as above."""
    if _plugin() is None:
        return None
    nothing = dict.fromkeys(STREAMS, "none")
    raw = _estimate({**nothing, "snapshots": "every:1"}, tables, tokens, 0, updates)
    found = {"raw": raw.streams["snapshots"]}
    for encoding in _plugin()[1].ENCODED:
        encoded = _estimate({**nothing, "windows": "every:1", "window_encoding": encoding}, tables, tokens, 0, updates)
        found[encoding] = encoded.streams["windows"]
    return found


def _estimate(
    given: dict[str, str], tables: tuple[tuple[int, int], ...], tokens: float, counters: int, updates: int
) -> Recording | None:
    plugin = _plugin()
    if plugin is None:
        return None
    config, space, traces = plugin
    named = {f"record_{name}": text for name, text in given.items()}
    options = config.RecordingConfig(
        record_dir="dump.zarr", **{name: text for name, text in named.items() if hasattr(config.RecordingConfig, name)}
    )
    streams = config.check(options)
    groups = math.floor(math.log10(max(tokens, 1))) + 3  # zero, the decades, unreachable
    traced = len(set(traces.WORDS)) + options.record_trace_sample * groups
    sizes = [(rows, dim, min(rows, traced), groups) for rows, dim in tables]
    found = space.estimate(streams, sizes, 0, updates, counters, options.record_window_encoding)
    return Recording({name: getattr(found, name) for name in STREAMS if hasattr(found, name)})


@functools.lru_cache(None)
def _plugin() -> tuple[Any, Any, Any] | None:
    """The plug-in's modules. It is not there before the set-up, and importing it says what fairseq registers."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        from fairseq_ext.recording import config, space, traces
    except (ImportError, OSError):
        return None
    finally:
        logging.disable(disabled)
    return config, space, traces
