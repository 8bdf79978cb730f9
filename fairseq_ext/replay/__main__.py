"""``python -m fairseq_ext.replay RUN --from A --to B --out NEW_RUN``: see :mod:`fairseq_ext.replay.command`."""

import sys

from ..evaluate.logs import say_warnings_only

say_warnings_only()

from .command import main  # noqa: E402  (imports libraries that log what they register)

sys.exit(main())
