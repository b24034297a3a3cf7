"""ASARS against a loop over rows, steps and what came before them; its sums, and its segments."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from encoding import SIZES, encoder_of, random_steps, states_of
from torch import Tensor, nn

from pipeline.errors import UsageError
from training.models import build
from training.models.attention.asars import Asars, AsarsParameters, weighted_prefixes
from training.nn.blocks.segment_rows import SegmentRows

HIDDEN = 6
CLOSE = {"rtol": 0.0, "atol": 1e-5}


def stepped(lstm: nn.LSTM, x: Tensor, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    gates = lstm.weight_ih_l0 @ x + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ state + lstm.bias_hh_l0
    enters, keeps, fresh, leaves = gates.view(4, HIDDEN)
    cell = torch.sigmoid(keeps) * cell + torch.sigmoid(enters) * torch.tanh(fresh)
    return torch.sigmoid(leaves) * torch.tanh(cell), cell


@pytest.mark.parametrize(
    ("variant", "query"),
    [
        ("time_att", "own"),
        ("time_att", "last"),
        ("time_cat", "own"),
        ("user_att", "own"),
        ("user_cat", "own"),
        ("time_user", "own"),
        ("time_user", "last"),
    ],
)
def test_states_are_the_published_ones(variant: str, query: str) -> None:
    width = 8 if "user" in variant else 0
    encoder = encoder_of(
        "asars", variant=variant, query=query, hidden=HIDDEN, bin_width=3, user_width=width
    )
    assert isinstance(encoder, Asars)
    steps = random_steps(n_steps=12, begins_at=((0, 5), (1, 6), (1, 7)))
    states = states_of(encoder, steps)
    nothing = torch.zeros(HIDDEN)
    with torch.no_grad():
        for row in range(3):
            for step in range(12):
                if steps.begins[row, step]:
                    state = cell = dwelt = dwelt_cell = nothing
                    past: list[tuple[Tensor, Tensor]] = []
                x = steps.inputs[row, step]
                user = steps.user[row, step]
                if variant.startswith("time"):
                    bin_vector = encoder.bins.weight[steps.dwell[row, step]]
                if variant == "time_cat":
                    x = torch.cat([x, bin_vector])
                state, cell = stepped(encoder.items, x, state, cell)
                if variant in ("time_att", "time_user"):
                    dwelt, dwelt_cell = stepped(encoder.dwells, bin_vector, dwelt, dwelt_cell)
                    past.append((torch.tanh(encoder.pull(dwelt)), state))
                    logits = [float(pull @ (h if query == "own" else state)) for pull, h in past]
                elif variant == "user_att":
                    past.append((torch.tanh(encoder.pull(state)), state))
                    logits = [float(pull @ user) for pull, _ in past]
                if past:
                    weights = torch.softmax(torch.tensor(logits), dim=0)
                    expected = sum(w * h for w, (_, h) in zip(weights, past, strict=True))
                else:
                    expected = state
                if variant in ("user_cat", "time_user"):
                    expected = torch.cat([expected, user])
                torch.testing.assert_close(states[row, step], encoder.out(expected), **CLOSE)


def test_sums_of_prefixes_hold_where_weights_are_of_every_size() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = (torch.rand(4, 30, generator=rng) * 2 - 1) * 350
    values = torch.randn(4, 30, 5, generator=rng)
    logits[0] = logits[0].sort().values
    logits[1] = logits[1].sort(descending=True).values
    sums = weighted_prefixes(logits, values)
    for stop in range(1, 31):
        expected = torch.softmax(logits[:, None, :stop], -1) @ values[:, :stop]
        torch.testing.assert_close(sums[:, stop - 1], expected[:, 0], **CLOSE)


def test_segments_lie_apart_and_come_back() -> None:
    steps = random_steps(n_steps=5, begins_at=((1, 2), (2, 1), (2, 4)))
    rows = SegmentRows.of(steps.begins)
    apart = rows.apart(steps.inputs)
    spans = [(0, 0, 5), (1, 0, 2), (1, 2, 5), (2, 0, 1), (2, 1, 4), (2, 4, 5)]
    assert apart.shape == (6, 5, 12)
    for segment, (row, first, stop) in zip(apart, spans, strict=True):
        assert torch.equal(segment[: stop - first], steps.inputs[row, first:stop])
        assert not segment[stop - first :].any()
    assert torch.equal(rows.together(apart), steps.inputs)


def test_an_item_has_a_bias_after_each_dwell_bin() -> None:
    """Eq. 14: what a score gains is E'_bin . F_j, and no step is told any F_j."""
    encoder = encoder_of("asars", width=8, dwell_bias=3, hidden=HIDDEN, bin_width=3)
    assert isinstance(encoder, Asars) and encoder.bias_bins is not None
    steps = random_steps(n_steps=12, begins_at=((0, 5), (1, 6), (1, 7)))
    states = states_of(encoder, steps)
    items = torch.randn(20, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        scores = states @ items.T
        for row in range(3):
            for step in range(12):
                bias = encoder.bias_bins.weight[steps.dwell[row, step]]
                for item in range(20):
                    taste = sum(states[row, step, n] * items[item, n] for n in range(5))
                    added = sum(bias[n] * items[item, 5 + n] for n in range(3))
                    torch.testing.assert_close(scores[row, step, item], taste + added, **CLOSE)
    inputs = steps.inputs.clone()
    inputs[..., 5:8] += 100
    other = states_of(encoder, dataclasses.replace(steps, inputs=inputs))
    assert torch.equal(other, states)
    inputs[..., 4] += 100
    other = states_of(encoder, dataclasses.replace(steps, inputs=inputs))
    assert not torch.allclose(other, states)


def test_a_bias_begins_as_none() -> None:
    torch.manual_seed(0)
    encoder = Asars(SIZES, AsarsParameters(width=8, dwell_bias=3, hidden=HIDDEN))
    assert not states_of(encoder.eval(), random_steps())[..., 5:].any()


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"variant": "times"}, "one of time_att, time_cat, user_att, user_cat, time_user"),
        ({"variant": "time_user"}, "user_width = 0 must be above 0 with variant = 'time_user'"),
        ({"user_width": 32}, "user_width = 32 must be 0 with variant = 'time_att'"),
        ({"query": "first"}, "one of own, last"),
        ({"hidden": 351}, "from 1 to 350"),
        ({"bin_width": 0}, "bin_width = 0 must be at least 1"),
        ({"width": 8, "dwell_bias": 8}, "dwell_bias = 8 must be 0 or more and below width = 8"),
    ],
)
def test_values_that_are_refused(parameters: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        build("asars", parameters)
