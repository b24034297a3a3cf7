"""What users have met, against sets."""

from __future__ import annotations

import time
from itertools import chain

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.batching.negatives import SeenItems
from training.nn.losses import loss_named

V = 8
HISTORIES = [[0, 3, 3, 5], [], [7], [3, 0, 0]]


def seen_of(histories: list[list[int]]) -> SeenItems:
    offsets = np.cumsum([0, *map(len, histories)])
    return SeenItems.of(offsets, np.array(list(chain(*histories)), np.int32), V)


def test_a_user_has_met_the_items_of_the_own_history_only() -> None:
    mask = seen_of(HISTORIES).mask(np.array([3, 1, 0, 3]), np.array([3, 7, 5, 3]))
    assert mask.astype(int).tolist() == [[1, 0, 0, 1], [0, 0, 0, 0], [1, 0, 1, 1], [1, 0, 0, 1]]


def test_before_an_event_only_earlier_ones_count() -> None:
    user, event = np.array([0, 0, 0, 3]), np.array([0, 1, 2, 6])  # 6: item 0 of the last user
    mask = seen_of(HISTORIES).mask(user, np.array([0, 3]), before=event)
    assert mask.astype(int).tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]


histories_of = st.lists(st.lists(st.integers(0, V - 1), max_size=6), min_size=1, max_size=6)


@given(histories_of, st.lists(st.integers(0, V - 1), min_size=1, max_size=12), st.data())
def test_the_masks_are_the_sets(
    histories: list[list[int]], items: list[int], data: st.DataObject
) -> None:
    seen = seen_of(histories)
    places = st.lists(st.integers(0, len(histories) - 1), min_size=1, max_size=8)
    users = data.draw(places)
    mask = seen.mask(np.array(users), np.array(items))
    assert mask.tolist() == [[i in histories[u] for i in items] for u in users]

    cells = [(u, k) for u, history in enumerate(histories) for k in range(len(history))]
    if cells:
        asked = data.draw(st.lists(st.sampled_from(cells), min_size=1, max_size=8))
        event = np.array([seen.offsets[u] + k for u, k in asked])
        mask = seen.mask(np.array([u for u, _ in asked]), np.array(items), event)
        assert mask.tolist() == [[i in histories[u][:k] for i in items] for u, k in asked]


def test_a_target_in_the_history_is_still_learned() -> None:
    """User 0 meets item 3 again: it is left out of the negatives, never as the target."""
    drawn = np.array([3, 6, 5])
    mask = torch.from_numpy(seen_of(HISTORIES).mask(np.array([0]), drawn))
    scores = torch.zeros(1, V, requires_grad=True)
    loss = loss_named("cross_entropy").sampled(scores[:, 3], scores[:, drawn], None, mask)
    loss.sum().backward()
    assert scores.grad[0, 3] < 0
    assert scores.grad[0, 6] > 0
    assert scores.grad[0, 5] == 0


def test_a_batch_at_full_size_is_not_searched_cell_by_cell() -> None:
    rng = np.random.default_rng(0)
    n_items, n_users, length = 1_183_451, 5_000, 50
    item = rng.integers(0, n_items, n_users * length).astype(np.int32)
    seen = SeenItems.of(np.arange(n_users + 1) * length, item, n_items)
    user, drawn = rng.integers(0, n_users, 1_000), rng.integers(0, n_items, 2_048)
    took_s = []
    for _ in range(5):
        started = time.thread_time()
        mask = seen.mask(user, drawn)
        took_s.append(time.thread_time() - started)
    pairs = np.sort(np.repeat(np.arange(n_users), length) * n_items + item)
    started = time.thread_time()
    np.searchsorted(pairs, user[:, None] * n_items + drawn)
    searched_s = time.thread_time() - started
    rows = rng.integers(0, 1_000, 20)
    for row in rows:
        own = item[user[row] * length : (user[row] + 1) * length]
        assert np.array_equal(mask[row], np.isin(drawn, own))
    assert min(took_s) < searched_s / 3
