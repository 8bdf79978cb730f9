"""Options of the optimisers with a rule for the embedding tables (:mod:`.embedding`); fairseq reads the fields' types as they are."""

from dataclasses import dataclass, field

from fairseq.optim.adam import FairseqAdamConfig


@dataclass
class EmbeddingRuleConfig(FairseqAdamConfig):
    """Options of every optimiser with a rule for the embedding tables, beside those of Adam."""

    embedding_tables: str = field(
        default="",
        metadata={
            "help": "comma list of patterns (* and ?) of the tables that the optimiser's rule is for; the others are trained by Adam; "
            "empty: every table with one row per token"
        },
    )
    embedding_lr_scale: float = field(
        default=1.0, metadata={"help": "the tables' learning rate as a multiple of the scheduled one"}
    )


@dataclass
class EmbeddingSGDConfig(EmbeddingRuleConfig):
    embedding_momentum: float = field(default=0.9, metadata={"help": "momentum of the tables' SGD, from 0 to below 1"})
    embedding_weight_decay: float = field(
        default=0.0,
        metadata={
            "help": "decoupled weight decay of the tables under SGD, whose learning rate is of another size than Adam's"
        },
    )
