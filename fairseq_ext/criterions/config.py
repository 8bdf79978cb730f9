"""Options of the criterion with remedies against the drift (:mod:`.remedied_masked_lm`); fairseq reads the fields' types as they are."""

from dataclasses import dataclass, field

from fairseq.criterions.masked_lm import MaskedLmConfig


@dataclass
class RemediedMaskedLMConfig(MaskedLmConfig):
    cosine_regularization: float = field(
        default=0.0,
        metadata={
            "help": "weight of the mean cosine of all pairs of rows of the output table, added in training to the mean loss of a token in nats (Gao et al. 2019)"
        },
    )
    gradient_gating: bool = field(
        default=False,
        metadata={"help": "gate the gradient that pushes rare tokens' output rows away (Yu et al. 2022)"},
    )
    gating_memory: int = field(
        default=200, metadata={"help": "updates over which a token's occurrences as target are counted for the gates"}
    )
    gating_threshold: float = field(
        default=0.03, metadata={"help": "a token is rare whose occurrences as target are fewer an update than this"}
    )
