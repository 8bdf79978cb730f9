"""Counting tokens of a masked batch, against a count by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fairseq_ext.recording.exposure import Exposure, masked_lm_tokens

PAD, MASK = 1, 9


def batch() -> dict[str, object]:
    """Two examples of the text 4 5 6 5 and 7 8: masked, replaced by 4, kept, not chosen; masked, not chosen, padding twice."""
    source = torch.tensor([[MASK, 4, 6, 5], [MASK, 8, PAD, PAD]])
    target = torch.tensor([[4, 5, 6, PAD], [7, PAD, PAD, PAD]])
    return {"id": torch.tensor([3, 0]), "net_input": {"src_tokens": source}, "target": target}


def make() -> Exposure:
    return Exposure(10, 5, lambda sample: masked_lm_tokens(sample, PAD, MASK), lambda ids: ids)


def test_each_position_counts_where_it_belongs() -> None:
    exposure = make()
    exposure.receive(batch())
    assert all(counter.sum() == 0 for counter in exposure.counts.values())  # the update is not made yet
    exposure.commit()
    found = exposure.values(list(exposure.counts))
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
    assert exposure.values(["drawn"])["drawn"].tolist() == [2, 0, 0, 2, 0]


def test_a_state_goes_on_and_another_corpus_does_not_fit() -> None:
    one, other = make(), make()
    one.receive(batch())
    one.commit()
    other.resume_from(one.state())
    other.receive(batch())
    other.commit()
    assert other.values(["target"])["target"].tolist() == [0, 0, 0, 0, 2, 2, 2, 2, 0, 0]
    with pytest.raises(ValueError, match="expected 6 counters, found 5"):
        Exposure(10, 6, lambda sample: (), lambda ids: ids).resume_from(one.state())
