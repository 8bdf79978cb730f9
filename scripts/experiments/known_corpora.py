"""The corpora that the profiles and the options of run_all.sh know by name."""

from __future__ import annotations

from .sizes import Corpus

WIKIPEDIA_SAMPLE = Corpus("wikipedia-sample", "scripts/prepare_wikipedia_sample.sh", seconds=30)
WIKITEXT_103 = Corpus("wikitext-103", "scripts/prepare_wikitext103.sh", seconds=600)
SMOKE = Corpus(
    "wikipedia-smoke",
    "scripts/prepare_wikipedia_sample.sh",
    ("--name", "wikipedia-smoke", "--limit-examples", "400"),
    seconds=15,
)

LIBREOFFICE_HELP = Corpus("libreoffice-help", "scripts/prepare_libreoffice_help.sh", seconds=60)
MULTI30K = Corpus(
    "multi30k-4k", "scripts/prepare_multi30k.sh", ("--name", "multi30k-4k", "--vocabulary", "4000"), seconds=30
)
IWSLT14 = Corpus(
    "iwslt14-10k",
    "scripts/prepare_iwslt14.sh",
    ("--name", "iwslt14-10k", "--vocabulary", "10000"),
    seconds=120,
    languages=("de", "en"),
)

CORPORA = {corpus.name: corpus for corpus in (WIKIPEDIA_SAMPLE, WIKITEXT_103)}
PAIRS = {corpus.name: corpus for corpus in (LIBREOFFICE_HELP, MULTI30K, IWSLT14)}
