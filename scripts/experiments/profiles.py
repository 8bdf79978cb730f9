"""The profiles of run_all.sh: how large each experiment is. Times are estimates on 2 cores; 0 where nobody measured."""

from __future__ import annotations

from . import base_sizes, cause_sizes, layers_sizes, repetition_sizes, sharing_sizes
from .known_corpora import SMOKE, WIKIPEDIA_SAMPLE, WIKITEXT_103
from .sizes import Profile

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            "the tests: everything end to end on a tiny model",
            (1,),
            SMOKE,
            base_sizes.SMOKE,
            report_seconds=50,
            report_options=("--points", "400"),
            layers=layers_sizes.SMOKE,
            repetition=repetition_sizes.SMOKE,
            sharing=sharing_sizes.SMOKE,
            cause=cause_sizes.SMOKE,
        ),
        Profile(
            "quick",
            "first contact: the study's model on real text",
            (1,),
            WIKIPEDIA_SAMPLE,
            base_sizes.QUICK,
            report_seconds=105,
            layers=layers_sizes.QUICK,
            repetition=repetition_sizes.QUICK,
            sharing=sharing_sizes.QUICK,
            cause=cause_sizes.QUICK,
        ),
        Profile(
            "standard",
            "the most that 2 cores can decide in about four hours",
            (1,),
            WIKIPEDIA_SAMPLE,
            base_sizes.STANDARD,
            report_seconds=120,
            layers=layers_sizes.STANDARD,
            repetition=repetition_sizes.STANDARD,
            sharing=sharing_sizes.STANDARD,
            cause=cause_sizes.STANDARD,
        ),
        Profile(
            "gpu",
            "a convincing run on one modern GPU",
            (1, 2, 3),
            WIKITEXT_103,
            base_sizes.GPU,
            report_seconds=120,
            layers=layers_sizes.GPU,
            repetition=repetition_sizes.GPU,
            sharing=sharing_sizes.GPU,
            cause=cause_sizes.GPU,
        ),
        Profile(
            "study",
            "the study's own size: 233,000 updates of 200 sentences of WikiText-103",
            (1, 2, 3),
            WIKITEXT_103,
            base_sizes.STUDY,
            report_seconds=600,
            layers=layers_sizes.STUDY,
            sharing=sharing_sizes.STUDY,
            cause=cause_sizes.STUDY,
        ),
    )
}
DEFAULT = "quick"
