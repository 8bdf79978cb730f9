"""What the command says beside its results: warnings of this package, and errors, one line each."""

from __future__ import annotations

import logging


class OneLine(logging.Formatter):
    """``LEVEL: message`` with every line break and run of spaces made one space."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname}: {' '.join(record.getMessage().split())}"


def worth_saying(record: logging.LogRecord) -> bool:
    """Whether a message is a warning of this package, or an error of anyone."""
    own = record.name.partition(".")[0] == __name__.partition(".")[0]
    return record.levelno >= (logging.WARNING if own else logging.ERROR)


def say_warnings_only() -> None:
    """Replace the logging that fairseq and other libraries set up when they are imported; Python's own warnings go the same way."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    handler.addFilter(worth_saying)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
