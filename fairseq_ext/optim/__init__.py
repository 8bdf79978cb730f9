"""Optimisers that the experiments need, registered for fairseq."""
