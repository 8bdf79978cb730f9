"""Options of a faster training step, shared by all tasks."""

from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum, FairseqDataclass


@dataclass
class StepConfig(FairseqDataclass):
    autocast: ChoiceEnum(["off", "auto", "bf16"]) = field(
        default="off",
        metadata={
            "help": "bfloat16 autocast of the forward pass on the CPU (weights, optimiser and dump stay in 32 bits): auto uses it "
            "where the CPU has bfloat16 instructions and says so; off is stock fairseq"
        },
    )
    tied_gradient: bool = field(
        default=False,
        metadata={
            "help": "on the CPU with one rank, add the input embedding's gradient in place to that of the tied output embedding: the same "
            "gradient without two more tables at each update"
        },
    )
    fast_dropout: bool = field(
        default=False,
        metadata={
            "help": "on the CPU, draw dropout masks from 16-bit integers: the same distribution (probability to 1/65536), other random "
            "numbers than torch's"
        },
    )
    keep_freed_memory: bool = field(
        default=False,
        metadata={
            "help": "on the CPU with glibc, keep freed memory for the next update instead of returning it to the kernel and having its pages "
            "cleared again; holds for the whole process"
        },
    )
