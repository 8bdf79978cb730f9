"""Encoded windows on disk: going on after an interruption, and how many threads may encode."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..errors import UserError
from . import contents
from .store import RESIDUAL, Store, Stream
from .windows import Decoder, WindowEncoder

MOST_THREADS = 8


def encoders() -> int:
    """Threads that encode: the cores that training on the CPU leaves, at least one; on a GPU half of all cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    spare = cores // 2 if torch.cuda.is_available() else cores - torch.get_num_threads()
    return max(1, min(MOST_THREADS, spare))


def resume_encoder(encoder: WindowEncoder, stream: Stream, update: int) -> None:
    """Give an encoder what it knew after ``update``, by decoding the stream from the keyframe before it.

    Raises:
        UserError: a frame cannot be read.
    """
    if not stream.updates or stream.updates[-1] != update:
        return  # the next frame does not follow another: it is a keyframe in any case
    known = Decoder()
    try:
        parameters = np.asarray(stream.arrays["frame"][...].read().result())[: len(stream.updates)]
        first = int(np.flatnonzero(parameters[:, 0])[-1])
        for place in range(first, len(parameters)):
            known.decode(np.asarray(stream.arrays[RESIDUAL][place].read().result()), parameters[place])
    except (ValueError, IndexError) as error:
        raise UserError(
            f"{stream.store.path}/{stream.key} cannot be continued at update {update}: {' '.join(str(error).split())[:200]}; "
            "check the dump (python -m fairseq_ext.recording check), restore it, or choose another --record-dir"
        ) from error
    encoder.resume(update, float(parameters[-1, 3]), known)


def window_bases(dump: Path, key: str, updates: Sequence[int]) -> dict[int, int]:
    """For each update of a stream of windows the keyframe from which it is decoded; nothing for other streams.

    A frame that cannot be read counts as a keyframe: whoever keeps it will find it damaged.
    """
    if contents.sort_of(key) != "windows":
        return {}
    frames = Store(dump).open_array(f"{key}/frame")
    bases: dict[int, int] = {}
    base = -1
    for place, update in enumerate(updates):
        try:
            keyframe = bool(frames[place, 0].read().result())
        except ValueError:
            keyframe = True
        base = update if keyframe or base < 0 else base
        bases[update] = base
    return bases
