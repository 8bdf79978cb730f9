"""The sampling's options, shared by all tasks."""

from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from ..errors import UserError


@dataclass
class SamplingConfig(FairseqDataclass):
    sample_pool: ChoiceEnum(["none", "all", "random", "diverse", "narrow"]) = field(
        default="none",
        metadata={
            "help": "distinct training examples that the run draws from: all, a random subset, a diverse one (spread over topics) or a "
            "narrow one (few topics); none: no sampling, stock fairseq"
        },
    )
    sample_repeat: int = field(
        default=1,
        metadata={"help": "how often each example of the pool is drawn; with --sample-fraction, of its small set"},
    )
    sample_fraction: float = field(
        default=0.0,
        metadata={
            "help": "fraction p of the run's tokens that is a small set repeated --sample-repeat times while the rest is seen once; "
            "0: every example of the pool is repeated"
        },
    )
    sample_order: ChoiceEnum(["spread", "epochs", "consecutive"]) = field(
        default="spread",
        metadata={
            "help": "where the repeats of an example fall: anywhere in the run, one in each pass over the pool, or in consecutive updates"
        },
    )
    sample_masks: ChoiceEnum(["fresh", "identical"]) = field(
        default="fresh",
        metadata={"help": "masked LM: a new mask for each repeat of an example, or the same mask each time"},
    )
    sample_tokens_per_update: int = field(
        default=0,
        metadata={
            "help": "tokens an update sees, over all ranks and micro-batches, padding not counted; the pool then holds this times "
            "--max-update / --sample-repeat tokens. --batch-size and --max-tokens do not shape the training batches under sampling"
        },
    )
    sample_pool_tokens: int = field(
        default=0,
        metadata={"help": "tokens of the pool, instead of --sample-tokens-per-update"},
    )
    sample_topics: str = field(
        default="",
        metadata={
            "help": "topics of the training examples, for diverse and narrow pools; empty: topics.npz in the corpus's folder, which "
            "scripts/select_topics.sh makes"
        },
    )
    sample_valid_examples: int = field(
        default=0,
        metadata={
            "help": "examples of each validation split to validate on, a random choice that is the same in every run; 0: all. fairseq's own "
            "--max-valid-steps takes the shortest examples instead"
        },
    )


def check(config: SamplingConfig) -> bool:
    """Whether sampling is on.

    Raises:
        UserError: an option is out of its range, or options contradict one another.
    """
    if config.sample_valid_examples < 0:
        raise UserError(f"--sample-valid-examples: expected 0 (all) or more, found {config.sample_valid_examples}")
    if str(config.sample_pool) == "none":
        given = {
            "--sample-repeat": config.sample_repeat != 1,
            "--sample-fraction": config.sample_fraction != 0,
            "--sample-tokens-per-update": config.sample_tokens_per_update != 0,
            "--sample-pool-tokens": config.sample_pool_tokens != 0,
            "--sample-topics": bool(config.sample_topics),
        }
        if any(given.values()):
            raise UserError(
                f"{' and '.join(name for name, is_given in given.items() if is_given)} given without --sample-pool, so nothing would be "
                "sampled; add --sample-pool all, random, diverse or narrow"
            )
        return False
    if config.sample_repeat < 1:
        raise UserError(
            f"--sample-repeat: expected at least 1, found {config.sample_repeat}; 1 draws each example of the pool once"
        )
    if config.sample_fraction != 0 and not 0 < config.sample_fraction < 1:
        raise UserError(
            f"--sample-fraction: expected 0 < p < 1 (or 0 for none), found {config.sample_fraction:g}; give the share of the run's tokens "
            "that the repeated set makes up"
        )
    if config.sample_fraction and config.sample_repeat < 2:
        raise UserError(
            f"--sample-fraction {config.sample_fraction:g} needs a set that is repeated; found --sample-repeat {config.sample_repeat}; "
            "give at least 2"
        )
    for name in ("sample_tokens_per_update", "sample_pool_tokens"):
        if getattr(config, name) < 0:
            raise UserError(f"--{name.replace('_', '-')}: expected at least 1, found {getattr(config, name)}")
    if str(config.sample_pool) == "all" and config.sample_pool_tokens:
        raise UserError(
            "--sample-pool all is the whole corpus, so --sample-pool-tokens has no meaning; leave it out, or choose --sample-pool random"
        )
    if str(config.sample_pool) != "all" and not (config.sample_tokens_per_update or config.sample_pool_tokens):
        raise UserError(
            f"--sample-pool {config.sample_pool} needs its size; found none; give --sample-tokens-per-update or --sample-pool-tokens"
        )
    if config.sample_topics and str(config.sample_pool) not in ("diverse", "narrow"):
        raise UserError(
            f"--sample-topics is for diverse and narrow pools; found --sample-pool {config.sample_pool}; leave the file out"
        )
    return True
