"""Runs trained translation models: ``python -m fairseq_ext.translate RUN_FOLDER ...`` translates a test split, ``python -m
fairseq_ext.translate.speed RUN_FOLDER ...`` times the training of several arms against one another.

``docs/translation-format.md`` is the contract for what they write.
"""
