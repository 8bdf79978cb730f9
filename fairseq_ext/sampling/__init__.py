"""Which training examples are seen, how often and in what order: see docs/sampling.md."""
