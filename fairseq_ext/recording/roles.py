"""The parts of an embedding table's gradient by the role in which a row was used: as input, as the softmax's target, as one of its other entries.

Hooks on the input embedding and on the head keep, during the backward passes of an update that is recorded, the gradients of the rows looked up
and of the targets: as many vectors as tokens and predictions. The third part, of every other entry of the softmax, is what is left of the
table's gradient. Nothing is kept, and nothing computed, at other updates; gradients are never changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.models.roberta.model import RobertaLMHead
from torch import Tensor, nn

from .tables import TableSpec, unwrap

INPUT, POSITIVE = "input", "positive"


@dataclass
class _Part:
    """Gradients of rows: row numbers int64 [n] and vectors [n, d] of each backward pass."""

    rows: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def add(self, rows: Tensor, values: Tensor) -> None:
        self.rows.append(rows)
        self.values.append(values)


class Roles:
    """Collects the gradients of one model's tables by role.

    Args:
        model: any of fairseq's. Roles are known of a masked LM with one input embedding and one ``RobertaLMHead``.
        tables: its tables that are recorded.
        alone: whether one process trains; with several, gradients are added up over ranks and these would be of one rank only.
    """

    def __init__(self, model: nn.Module, tables: list[TableSpec], alone: bool) -> None:
        modules = list(unwrap(model).modules())
        heads = [m for m in modules if isinstance(m, RobertaLMHead)]
        self._pointers = {spec.parameter.data_ptr(): spec.name for spec in tables}
        inputs = [m for m in modules if isinstance(m, nn.Embedding) and m.weight.data_ptr() in self._pointers]
        self.known = alone and len(heads) == 1 and len(inputs) <= 1
        self._parts: dict[tuple[str, str], _Part] = {}
        self._targets: Tensor | None = None
        self._hidden: Tensor | None = None
        self._padding: int | None = None
        self._head_table: str | None = None
        self._input_table: str | None = None
        self._probes: dict[str, tuple[int, Tensor]] = {}
        self.active = self._complete = False
        if self.known:
            self._head_table = self._pointers.get(heads[0].weight.data_ptr())
            heads[0].layer_norm.register_forward_hook(self._keep_hidden)
            heads[0].register_forward_hook(self._watch_logits)
            self._padding = next((m.padding_idx for m in modules if isinstance(m, nn.Embedding)), None)
            self._input_table = self._pointers[inputs[0].weight.data_ptr()] if inputs else None
            for module in inputs:
                module.register_forward_hook(self._watch_lookup)

    def begin_update(self) -> None:
        """Forget everything, and collect from now on."""
        self._parts, self._probes = {}, {}
        self.active, self._complete = True, True

    def begin_batch(self, sample: Any) -> None:
        """A forward and a backward pass on ``sample`` come."""
        self._targets = sample.get("target") if isinstance(sample, dict) else None

    def end_batch(self, tables: list[TableSpec]) -> None:
        """The backward pass has run: note the gradient of one row of each table, to know by how much gradients are scaled until the step."""
        self._hidden = self._targets = None
        for spec in tables:
            gradient = spec.parameter.grad
            if gradient is not None:
                row = self._probe_row(spec.name, gradient)
                self._probes[spec.name] = row, gradient[row].detach().double().clone()

    def end_update(self) -> None:
        """Stop collecting, and give the memory back."""
        self.active = False
        self._parts = {}

    def of(self, spec: TableSpec) -> dict[str, tuple[Tensor, Tensor]] | None:
        """The gradients of a table's rows by role, as the optimiser received them; ``None`` where roles are not known.

        Returns:
            for ``input`` and ``positive`` row numbers int64 [n], repeated ones included, and float32 [n, d].
        """
        if not (self.known and self.active and self._complete) or spec.parameter.grad is None:
            return None
        row, before = self._probes.get(spec.name, (0, None))
        if before is None or not bool(before @ before > 0):
            return None
        scale = float((spec.parameter.grad[row].double() @ before) / (before @ before))
        result = {}
        for role in (INPUT, POSITIVE):
            part = self._parts.get((spec.name, role), _Part())
            rows = torch.cat(part.rows) if part.rows else torch.zeros(0, dtype=torch.int64, device=before.device)
            values = torch.cat(part.values).float() if part.values else before.new_zeros(0, spec.dim).float()
            result[role] = rows, values * scale
        return result

    def _probe_row(self, name: str, gradient: Tensor) -> int:
        """A row whose gradient is surely not zero: of the first target, or of the first token."""
        for role in (POSITIVE, INPUT):
            part = self._parts.get((name, role))
            if part is not None:
                sizes = torch.linalg.vector_norm(part.values[-1], dim=1)
                return int(part.rows[-1][int(sizes.argmax())])
        return int(torch.linalg.vector_norm(gradient, dim=1).argmax())

    def _part(self, table: str, role: str) -> _Part:
        return self._parts.setdefault((table, role), _Part())

    def _keep_hidden(self, module: nn.Module, arguments: Any, output: Tensor) -> None:
        if self.active and torch.is_grad_enabled():
            self._hidden = output.detach()

    def _watch_logits(self, module: nn.Module, arguments: Any, output: Tensor) -> None:
        if not (self.active and torch.is_grad_enabled() and output.requires_grad) or self._head_table is None:
            return
        hidden, targets = self._hidden, self._flat_targets(output)
        if hidden is None or targets is None:
            self._complete = False
            return

        table = self._head_table

        def keep(gradient: Tensor) -> None:
            flat = gradient.detach().reshape(-1, gradient.shape[-1])
            of_target = flat.gather(1, targets[:, None]).float()
            self._part(table, POSITIVE).add(targets, of_target * hidden.reshape(len(targets), -1).float())

        output.register_hook(keep)

    def _flat_targets(self, logits: Tensor) -> Tensor | None:
        """The target of each row of logits: of the masked positions, or of all of them."""
        if self._targets is None or self._padding is None:
            return None
        number = logits.numel() // logits.shape[-1]
        masked = self._targets[self._targets.ne(self._padding)]
        return masked if len(masked) == number else None

    def _watch_lookup(self, module: nn.Module, arguments: Any, output: Tensor) -> None:
        table = self._input_table
        if not (self.active and torch.is_grad_enabled() and output.requires_grad) or table is None:
            return
        tokens = arguments[0].reshape(-1)

        def keep(gradient: Tensor) -> None:
            values = gradient.detach().reshape(-1, gradient.shape[-1])
            used = tokens != self._padding if self._padding is not None else torch.ones_like(tokens, dtype=torch.bool)
            self._part(table, INPUT).add(tokens[used], values[used].float())

        output.register_hook(keep)
