"""What draws count for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.batching.negatives import accidental_hits, importance_log_weight, union
from training.batching.samplers import UniformSampler


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=12),
    st.lists(st.integers(0, 9), min_size=1, max_size=20),
)
def test_accidental_hits_are_the_equal_pairs(target: list[int], drawn: list[int]) -> None:
    rows, columns = accidental_hits(torch.tensor(target), torch.tensor(drawn))
    found = list(zip(rows.tolist(), columns.tolist(), strict=True))
    expected = [(b, s) for b, t in enumerate(target) for s, d in enumerate(drawn) if t == d]
    assert sorted(found) == expected


def test_hits_join_a_history_mask() -> None:
    mask = torch.tensor([[True, False], [False, False]])
    joined = union(mask, (torch.tensor([1]), torch.tensor([0])))
    assert joined.tolist() == [[True, False], [True, False]]
    assert not mask[1, 0]


def test_a_draw_stands_for_as_many_items_as_make_the_catalogue() -> None:
    sampler = UniformSampler(500)
    drawn = sampler.draw(20, np.random.default_rng(0))
    log_weight = importance_log_weight(torch.tensor(sampler.log_probability(drawn)))
    assert log_weight.exp().sum().item() == pytest.approx(500)
