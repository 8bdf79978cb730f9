"""Runs a trained masked LM and writes arrays that the analysis reads without torch: ``python -m fairseq_ext.evaluate RUN_FOLDER ...``.

``docs/evaluation-format.md`` is the contract.
"""
