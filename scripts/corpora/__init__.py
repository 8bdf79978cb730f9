"""Prepare corpora: text in, `data-bin/<name>/` in fairseq's own binarised format out.

`python -m corpora.wikipedia_sample`, `corpora.wikitext103` and `corpora.text` are the three commands (see `scripts/prepare_*.sh`).
The modules that parse options import the standard library only, so that `--help` works before the set-up.
"""
