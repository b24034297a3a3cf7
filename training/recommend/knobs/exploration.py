"""Exploration: places drawn at random, and the propensity of what stands in each place.

A user has a pool of N items, of which the first K are the list.  Each of the K places is drawn
with probability e, by itself.  The places that are not drawn keep their item.  The items of the
drawn places go back to the rest of the pool, and the drawn places get items of these, uniformly,
none of them twice.

So with X places drawn, N - K + X items are there for them, and each is as likely in each of them.
The propensity is the probability that an item stands in a place, over all that chance decides for
this user and hour, whatever stands in the other places:

    item of this place         1 - e + e * E[1 / (N - K + 1 + B(K - 1))]
    item of another place      e^2 * E[1 / (N - K + 2 + B(K - 2))]
    item below the list        e * E[1 / (N - K + 1 + B(K - 1))]

with B(n) the number of drawn places among n others, which is binomial (n, e): 1 is added for this
place, and 1 for the other one.  Over the N items they add up to 1, and all are above 0: for any
policy that fills the places from the pool, the mean over lists of

    sum over places of reward in the place * [policy shows this item there] / propensity

is an unbiased estimate of its reward, where what a place brings depends on its item alone.

What is drawn depends on the seed, the hour and the user, and on nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.array_types import Bools, Floats, Ints


class Explored(NamedTuple):
    """The lists of b users."""

    position: Ints  # (b, K) the item's place in the pool; -1 = none
    is_drawn: Bools  # (b, K)
    propensity: Floats  # (b, K) NaN = none


class Chances(NamedTuple):
    """Propensities in a pool of N items with a list of K."""

    own: float  # of the item of the place
    moved: float  # of the item of another place
    below: float  # of an item below the list


class Draws(NamedTuple):
    """Independent uniform numbers in [0, 1)."""

    by_place: Floats  # (b, K)
    by_item: Floats  # (b, P)

    @classmethod
    def of(cls, seed: int, keys: Sequence[tuple[str, str]], k: int, n: int) -> Draws:
        """Those of some (hour, user)s, for lists of ``k`` from pools of at most ``n`` items."""
        by_place, by_item = np.empty((len(keys), k)), np.empty((len(keys), n))
        for row, (hour, user) in enumerate(keys):
            digest = hashlib.blake2b(f"{seed} {hour} {user}".encode(), digest_size=16).digest()
            rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
            by_place[row], by_item[row] = rng.random(k), rng.random(n)
        return cls(by_place, by_item)


def explored(length: Ints, k: int, share: float, draws: Draws) -> Explored:
    """Lists of ``k`` from pools of ``length`` (b,) items, in which ``share`` of places are drawn.

    A pool of fewer than ``k`` items is a list of all of them.
    """
    n_users, width = draws.by_item.shape
    k_of = np.minimum(length, k)[:, None]
    in_list = np.arange(k) < k_of
    is_drawn = in_list & (draws.by_place < share)  # (b, K)
    column = np.arange(width)
    free = (column >= k_of) & (column < length[:, None])  # (b, P) below the list
    free[:, : min(k, width)] |= is_drawn[:, :width]
    # Uniform numbers put in order are a uniform permutation of the free items.
    order = np.argsort(np.where(free, draws.by_item, np.inf), axis=1, kind="stable")
    nth = np.cumsum(is_drawn, axis=1) - 1
    position = np.broadcast_to(np.arange(k), (n_users, k)).copy()
    row, at = np.nonzero(is_drawn)
    position[row, at] = order[row, nth[row, at]]
    position[~in_list] = -1
    propensity = np.full((n_users, k), np.nan)
    for n in np.unique(length[length > 0]).tolist():
        rows = np.flatnonzero(length == n)
        chances = chances_of(share, min(n, k), n)
        theirs = position[rows]
        is_own, is_below = theirs == np.arange(k), theirs >= k
        values = np.where(is_own, chances.own, np.where(is_below, chances.below, chances.moved))
        propensity[rows] = np.where(in_list[rows], values, np.nan)
    return Explored(position, is_drawn, propensity)


def chances_of(share: float, k: int, n: int) -> Chances:
    """The propensities above, of a list of k >= 1 from a pool of n >= k items."""
    below = share * _mean_inverse(n - k + 1, k - 1, share)
    moved = share * share * _mean_inverse(n - k + 2, k - 2, share) if k > 1 else 0.0
    return Chances(1.0 - share + below, moved, below)


def _mean_inverse(first: int, trials: int, share: float) -> float:
    """E[1 / (first + B)], B binomial."""
    chance = np.ones(1)  # of 0, 1, ... places drawn
    for _ in range(trials):
        chance = np.append(chance * (1.0 - share), 0.0) + np.append(0.0, chance * share)
    return float((chance / (first + np.arange(trials + 1))).sum())
