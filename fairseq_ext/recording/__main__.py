"""``python -m fairseq_ext.recording check|prune ...``: see :mod:`fairseq_ext.recording.command`."""

from ..evaluate.logs import say_warnings_only

say_warnings_only()

from .command import main  # noqa: E402  (imports libraries that log what they register)

main()
