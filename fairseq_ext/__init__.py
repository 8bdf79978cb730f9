"""A fairseq plug-in that records how token embeddings are learned: ``fairseq-train --user-dir fairseq_ext ...``.

Importing this package makes fairseq run on current numpy and torch (:mod:`.compat`) and registers the optimisers. The tasks in
``tasks/`` are imported by fairseq itself.
"""

from . import compat
from .version import __version__

compat.apply()

from .criterions import remedied_masked_lm  # noqa: E402  (registers the criterion)
from .optim import embedding, fused_adam  # noqa: E402  (registers the optimisers; needs compat first)

__all__ = ["__version__", "compat", "embedding", "fused_adam", "remedied_masked_lm"]
