"""Criteria that the experiments need, registered for fairseq."""
