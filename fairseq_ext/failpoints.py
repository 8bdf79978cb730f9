"""Places where a test can kill the process, raise an error or hold a thread, to show that nothing is lost by it.

``EMBEDDING_LAB_FAILPOINT=NAME`` or ``NAME:K`` kills the process with SIGKILL the first (K-th) time that it reaches NAME.
``NAME:K:raise=ERROR`` raises one of Python's own errors there instead, ``NAME:K:hold=FIFO`` waits until the named pipe gives a byte.
Without the variable nothing happens.
"""

import builtins
import os
import signal
from collections import Counter
from pathlib import Path

VARIABLE = "EMBEDDING_LAB_FAILPOINT"
NAMES = (
    "snapshot-values",  # a snapshot's chunks are written, its update is not listed
    "stream-values",  # a stream's buffered values are written, their updates are not listed
    "coordinate-chunk",  # the coordinate's chunk is written, its new length is not
    "committed",  # the coordinate is committed, the consolidated metadata is not
    "cut-coordinate",  # on resume: the coordinate is cut, the consolidated metadata and the values are not
    "cut-values",  # on resume: a stream is cut, the next one is not
    "create",  # a new dump lies under its temporary name
    "copy-checkpoint",  # fairseq copies a checkpoint to checkpoint_last.pt: half of it is written
    "prune-stream",  # a stream of the pruned dump is written, the next one is not
    "prune-written",  # the pruned dump lies whole under its temporary name
    "prune-checked",  # ... and was checked
    "prune-aside",  # in place: the old dump is moved aside, the new one has not taken its name
    "prune-renamed",  # in place: the new dump has its name, the old one is not deleted
)
_reached: Counter[str] = Counter()


def reach(name: str) -> None:
    """Kill this process, raise or wait, if the environment asks for it here.

    Raises:
        ValueError: ``name`` is not in :data:`NAMES`.
        BaseException: what the environment names.
    """
    if name not in NAMES:
        raise ValueError(f"unknown failpoint {name!r}")
    wanted, nth, action = [*os.environ.get(VARIABLE, "").split(":", 2), "", ""][:3]
    if wanted != name:
        return
    _reached[name] += 1
    if _reached[name] != int(nth or 1):
        return
    kind, _, what = action.partition("=")
    if kind == "raise":
        raise getattr(builtins, what)()
    if kind == "hold":
        with Path(what).open("rb", buffering=0) as pipe:
            pipe.read(1)
        return
    os.kill(os.getpid(), signal.SIGKILL)
