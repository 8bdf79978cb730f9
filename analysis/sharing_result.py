"""What is known of E4: its runs by arm and seed, and every comparison of the arms."""

from __future__ import annotations

from dataclasses import dataclass, field

import parameters
from claims import Claim, Estimate
from sentence_types import Contexts
from sharing_examples import Example
from sharing_geometry import SharingGeometry
from sharing_run import SharingRun
from training_speed import Speed
from translation_quality import Scores, Tested

PAIRS = (("all", "none"), ("decoder", "none"), ("all", "decoder"))


@dataclass(frozen=True)
class Difference:
    """`first` minus `second` in one metric, for the seeds that both have: one estimate a seed, together, and p values."""

    first: str
    second: str
    metric: str
    seeds: list[int]
    estimates: list[Estimate]
    combined: Estimate
    tested: list[Tested]


@dataclass
class SharingResult:
    """E4: the runs by arm and seed, and what was measured of them. What is None or empty could not be had."""

    runs: dict[str, dict[int, SharingRun]] = field(default_factory=dict)
    counts: dict[str, parameters.Count] = field(default_factory=dict)
    savings: dict[str, parameters.Saving] = field(default_factory=dict)
    speed: Speed | None = None
    scores: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    contexts: Contexts | None = None
    examples: list[Example] = field(default_factory=list)
    geometry: SharingGeometry | None = None
    left_out: list[str] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    @property
    def all_runs(self) -> list[SharingRun]:
        return [entry for arm in self.runs.values() for entry in arm.values()]

    @property
    def signatures(self) -> list[str]:
        return [entry.signature for entry in self.all_runs]

    def scored(self, arm: str) -> dict[int, Scores]:
        """Scores of an arm by seed."""
        return {seed: entry.scores for seed, entry in self.runs.get(arm, {}).items() if entry.scores is not None}

    def compared(self, first: str, second: str, metric: str = "BLEU") -> Difference | None:
        wanted = (first, second, metric)
        return next((entry for entry in self.differences if (entry.first, entry.second, entry.metric) == wanted), None)
