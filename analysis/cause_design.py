"""What an arm of E5 is, by the configuration that its dump holds: how its tables are trained, and whether they are tied.

Folders' names play no part. A run whose options are none of docs/cause.md's arms has the rule `other`: it is shown, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dump import Dump

# The rules in the order in which they are shown, with words for readers.
RULES = {
    "adam": "Adam",
    "coupled": "Coupled Adam",
    "amsgrad": "AMSGrad",
    "sgd": "SGD on the tables",
    "nodecay": "Adam, tables not decayed",
    "centred": "Adam, tables centred",
    "cosine": "Adam, cosine regularisation",
    "gating": "Adam, gradient gating",
    "other": "other options",
}
OPTIMISERS = {
    "adam": "adam",
    "fused_adam": "adam",
    "coupled_adam": "coupled",
    "embedding_amsgrad": "amsgrad",
    "embedding_sgd": "sgd",
    "undecayed_adam": "nodecay",
    "centered_adam": "centred",
}
TIED, INPUT, OUTPUT = "tied", "input", "output"
PLACES = {TIED: "tied", INPUT: "untied, input table", OUTPUT: "untied, output table"}
OUTPUTS = ("lm_head.weight", "output_projection.weight")
# The options of an arm's rule that docs/cause.md fixes, each with its default.
FIXED = {
    "sgd": {"embedding_momentum": (0.9, 0.9), "embedding_weight_decay": (0.0, 0.0)},
    "cosine": {"cosine_regularization": (1.0, 0.0)},
    "gating": {"gating_threshold": (0.03, 0.03)},
}


@dataclass(frozen=True)
class CauseDesign:
    """An arm's part in E5: `rule` is a key of RULES."""

    rule: str
    tied: bool

    @property
    def name(self) -> str:
        """`coupled`, `coupled-untied`: as the experiment's own folders are called."""
        return self.rule if self.tied else f"{self.rule}-untied"

    @property
    def words(self) -> str:
        return f"{RULES[self.rule]}, {'tied' if self.tied else 'untied'}"

    @property
    def order(self) -> tuple[int, int]:
        """Tied arms first, each in the order of RULES."""
        return int(not self.tied), list(RULES).index(self.rule)


def read_design(dump: Dump) -> CauseDesign:
    """The design of a run, from the dump's attribute `config`."""
    config = dump.attrs.get("config")
    config = config if isinstance(config, Mapping) else {}
    untied = _section(config, "model").get("untie_weights_roberta")
    tied = len(dump.tables) == 1 if untied is None else not _true(untied)
    return CauseDesign(_rule(_section(config, "optimizer"), _section(config, "criterion")), tied)


def places_of(dump: Dump, design: CauseDesign) -> dict[str, str]:
    """The tables of a run by the place that they have: `tied`, or `input` and `output`, as far as recorded; others are left out."""
    if design.tied:
        return {TIED: dump.tables[0]}
    output = next((name for name in dump.tables if name.endswith(OUTPUTS)), None)
    entry = next((name for name in dump.tables if name != output), None)
    return {place: name for place, name in ((INPUT, entry), (OUTPUT, output)) if name is not None}


def _rule(optimiser: Mapping[str, Any], criterion: Mapping[str, Any]) -> str:
    rule = OPTIMISERS.get(str(optimiser.get("_name")), "other")
    if str(optimiser.get("embedding_tables") or "").strip():
        return "other"  # the rule is for some of the tables only
    if rule != "sgd" and _number(optimiser.get("embedding_lr_scale"), 1.0) != 1:
        return "other"
    cosine = _number(criterion.get("cosine_regularization"), 0.0) > 0
    gating = _true(criterion.get("gradient_gating"))
    if cosine or gating:
        if rule != "adam" or (cosine and gating):
            return "other"
        rule = "cosine" if cosine else "gating"
    options = optimiser if rule == "sgd" else criterion
    for name, (wanted, default) in FIXED.get(rule, {}).items():
        if _number(options.get(name), default) != wanted:
            return "other"
    return rule


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}


def _true(value: Any) -> bool:
    return value.strip().lower() in ("true", "1", "yes") if isinstance(value, str) else bool(value)


def _number(value: Any, default: float) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return default
