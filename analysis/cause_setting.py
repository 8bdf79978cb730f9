"""What the arms of E5 share: the options that decide what is trained, on what and how fast, but the rule of the tables.

Arms that differ in one of them are not compared, for the difference could be that option's; the seeds of one arm must agree in its rule's
options as well. Seeds, folders, what is recorded and how updates are made faster play no part; nor do options that one of the two dumps
does not hold (of another version).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dump import Dump

# Options by the section of the configuration that holds them; * ends a prefix.
SHARED = {
    "model": ("_name", "encoder_*", "decoder_*", "dropout", "attention_dropout", "activation_*", "layernorm_embedding", "max_positions"),
    "task": ("sample_pool", "sample_repeat", "sample_fraction", "sample_order", "sample_masks", "sample_tokens_per_update", "sample_break_mode",
             "tokens_per_sample", "mask_*", "leave_unmasked_prob", "random_token_prob", "freq_weighted_replacement", "autocast_used"),
    "optimization": ("lr", "clip_norm", "update_freq", "sentence_avg"),
    "lr_scheduler": ("_name", "warmup_*", "total_num_update", "max_update", "power", "end_learning_rate", "min_lr"),
    "optimizer": ("adam_betas", "adam_eps", "weight_decay"),
    "dataset": ("batch_size", "max_tokens", "train_subset"),
    "distributed_training": ("distributed_world_size",),
    "common": ("fp16", "bf16", "amp"),
    "criterion": ("label_smoothing",),
}  # fmt: skip
OF_THE_RULE = {"optimizer": ("embedding_*",), "criterion": ("cosine_regularization", "gradient_gating", "gating_*")}


def read_setting(dump: Dump, chosen: Mapping[str, Sequence[str]] = SHARED) -> dict[str, str]:
    """The chosen options of a run by `section.option`, as text, from the dump's attribute `config`."""
    config = dump.attrs.get("config")
    found: dict[str, str] = {}
    for section, names in chosen.items():
        options = config.get(section) if isinstance(config, Mapping) else None
        for name, value in (options if isinstance(options, Mapping) else {}).items():
            if any(name.startswith(given[:-1]) if given.endswith("*") else name == given for given in names):
                found[f"{section}.{name}"] = _text(value)
    return found


def differing(settings: Mapping[str, Mapping[str, str]]) -> str:
    """The shared options in which arms differ, by the arms' names: `lr adam 0.001, coupled 0.002`; empty where they do not."""
    names: Sequence[str] = list(settings)
    options = dict.fromkeys(option for setting in settings.values() for option in setting)
    found = []
    for option in options:
        values = {name: settings[name][option] for name in names if option in settings[name]}
        if len(set(values.values())) > 1:
            found.append(f"{option.partition('.')[2]} {', '.join(f'{name} {value}' for name, value in values.items())}")
    return "; ".join(found)


def _text(value: Any) -> str:
    """Equal numbers give equal texts, whether they were written as a number or as text."""
    if isinstance(value, list | tuple):
        return _text(value[0]) if len(value) == 1 else f"({', '.join(_text(entry) for entry in value)})"
    if isinstance(value, str) and value.strip()[:1] in ("(", "["):
        return _text([part for part in value.strip(" ()[]").split(",") if part.strip()])
    if isinstance(value, bool) or value is None:
        return str(value)
    try:
        return f"{float(value):g}"
    except (TypeError, ValueError):
        return str(value).strip()
