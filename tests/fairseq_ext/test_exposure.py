"""Counting tokens of a masked batch, against a count by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fairseq_ext.recording.exposure import (
    Exposure,
    masked_lm_counters,
    masked_lm_tokens,
    translation_counters,
    translation_tokens,
)

PAD, MASK = 1, 9


def batch() -> dict[str, object]:
    """Two examples of the text 4 5 6 5 and 7 8: masked, replaced by 4, kept, not chosen; masked, not chosen, padding twice."""
    source = torch.tensor([[MASK, 4, 6, 5], [MASK, 8, PAD, PAD]])
    target = torch.tensor([[4, 5, 6, PAD], [7, PAD, PAD, PAD]])
    return {"id": torch.tensor([3, 0]), "net_input": {"src_tokens": source}, "target": target}


def make() -> Exposure:
    return Exposure(masked_lm_counters(10), 5, lambda sample: masked_lm_tokens(sample, PAD, MASK), lambda ids: ids)


def test_each_position_counts_where_it_belongs() -> None:
    exposure = make()
    exposure.receive(batch())
    assert all(counter.sum() == 0 for counter in exposure.counts.values())  # the update is not made yet
    exposure.commit()
    found = {kind: values for entry in exposure.counters for kind, values in exposure.values(entry).items()}
    assert found["visible"].tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 1, 0]
    assert found["target"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0]
    assert found["replacement"].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert found["drawn"].tolist() == [1, 0, 0, 1, 0]
    assert all(values.dtype == np.uint32 for values in found.values())


def test_what_an_overflow_threw_away_does_not_count() -> None:
    exposure = make()
    exposure.receive(batch())
    exposure.discard()
    exposure.receive(batch())
    exposure.receive(batch())
    exposure.commit()
    exposure.commit()
    assert exposure.counts["drawn"].tolist() == [2, 0, 0, 2, 0]


def test_a_state_goes_on_and_another_corpus_does_not_fit() -> None:
    one, other = make(), make()
    one.receive(batch())
    one.commit()
    other.resume_from(one.state())
    other.receive(batch())
    other.commit()
    assert other.counts["target"].tolist() == [0, 0, 0, 0, 2, 2, 2, 2, 0, 0]
    with pytest.raises(ValueError, match="expected 6 counters, found 5"):
        Exposure(masked_lm_counters(10), 6, lambda sample: (), lambda ids: ids).resume_from(one.state())


def test_a_translation_counts_each_side_apart() -> None:
    sources, before = torch.tensor([[PAD, 4, 5, 2], [6, 6, 7, 2]]), torch.tensor([[2, 8, PAD], [2, 8, 3]])
    target = torch.tensor([[8, 2, PAD], [8, 3, 2]])
    pairs = {
        "id": torch.tensor([1, 1]),
        "net_input": {"src_tokens": sources, "prev_output_tokens": before},
        "target": target,
    }
    exposure = Exposure(translation_counters(9, 10), 2, lambda sample: translation_tokens(sample, PAD), lambda ids: ids)
    exposure.receive(pairs)
    exposure.commit()
    source, targets, examples = (exposure.values(entry) for entry in exposure.counters)
    assert source["visible"].tolist() == [0, 0, 2, 0, 1, 1, 2, 1, 0]
    assert targets["visible"].tolist() == [0, 0, 2, 1, 0, 0, 0, 0, 2, 0]
    assert targets["target"].tolist() == [0, 0, 2, 1, 0, 0, 0, 0, 2, 0]
    assert examples["drawn"].tolist() == [0, 2]
    assert list(exposure.state()) == ["source_visible", "target_visible", "target_target", "drawn"]
