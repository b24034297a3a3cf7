"""Where negatives are drawn from: all items, or those of a mini-batch (HRNN 3.1, ASARS 2.4).

Items are numbered 0 .. V - 1.  Draws are shared by all targets of a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.array_types import Floats, Ints
from pipeline.errors import HourglassError


class Sampler(Protocol):
    """A distribution over items that can be drawn from."""

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        """``n`` items, (n,); the same for generators in the same state."""
        ...

    def log_probability(self, items: Ints) -> Floats:
        """Log of the chance that one draw is the item, for each of items (m,)."""
        ...


@dataclass(frozen=True)
class UniformSampler:
    """Every item alike."""

    n_items: int

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        """See `Sampler`."""
        return rng.integers(self.n_items, size=n)

    def log_probability(self, items: Ints) -> Floats:
        """See `Sampler`."""
        return np.full(len(items), -math.log(self.n_items))


class AliasSampler:
    """Draws in proportion to weights, each in constant time (the alias method).

    SciPy's `DiscreteAliasUrn` draws 2048 of 37 000 items as fast, but needs 1.7 times as long for
    1 180 000, warns of rounding there, and shows no table that could be verified (SciPy 1.17).

    Each cell of a table of V equal cells is shared by at most two items; a draw picks a cell,
    then one of its two.

    Raises:
        HourglassError: a weight is negative or not finite, or all are zero.
    """

    def __init__(self, weights: Floats) -> None:
        weights = np.asarray(weights, np.float64)
        largest = float(weights.max(initial=0))
        if not 0 < largest < math.inf or not weights.min() >= 0:
            raise HourglassError(
                f"cannot sample from {len(weights)} weights, the largest {largest}: they must be "
                "finite, 0 or more, and not all 0"
            )
        weights = weights / largest  # their sum stays finite
        self.probability = weights / weights.sum()  # (V,)
        self._keep, self._alias = _alias_table(self.probability)

    @classmethod
    def of_popularity(cls, item_events: Ints, power: float) -> AliasSampler:
        """Draws in proportion to events ** power (HRNN 4.6: 0.75).

        An item without events counts as if it had one: what is never drawn is never corrected for.
        """
        return cls(np.maximum(item_events, 1).astype(np.float64) ** power)

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        """See `Sampler`."""
        cell = rng.integers(len(self.probability), size=n)
        drawn: Ints = np.where(rng.random(n) < self._keep[cell], cell, self._alias[cell])
        return drawn

    def log_probability(self, items: Ints) -> Floats:
        """See `Sampler`."""
        return _log(self.probability[items])


@dataclass(frozen=True)
class BatchSampler:
    """The batch's own targets (n,) as negatives of one another, as in GRU4Rec.

    n draws are each target once; more go round again.  Over many batches a draw is an item as often
    as the item is a target, so ``frequency`` (V,), the shares of the items among all targets, is
    the distribution to correct for.  (A target is no negative of itself, which leaves n - 1 of n
    draws: the corrected sum is too small by a factor of 1 - 1/n.)
    """

    targets: Ints
    frequency: Floats

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        """See `Sampler`."""
        order = rng.permutation(len(self.targets))
        return np.resize(self.targets[order], n)

    def log_probability(self, items: Ints) -> Floats:
        """See `Sampler`."""
        return _log(self.frequency[items])


class LocalSampler:
    """Items in proportion to their popularity in the sequences of a mini-batch (ASARS 2.4).

    What each user has met is left out afterwards, by `training.batching.negatives.SeenItems`.  The
    distribution is the batch's: a correction for it weighs the items of the batch alike and knows
    no others.

    Args:
        items: items of the batch's events (m,), with repetition.
    """

    def __init__(self, items: Ints) -> None:
        self._items = items
        self._distinct, events = np.unique(items, return_counts=True)
        self._log_share = np.log(events / len(items))

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        """See `Sampler`."""
        return self._items[rng.integers(len(self._items), size=n)]

    def log_probability(self, items: Ints) -> Floats:
        """See `Sampler`; -inf for an item that is not in the batch."""
        position = np.minimum(np.searchsorted(self._distinct, items), len(self._distinct) - 1)
        in_batch = self._distinct[position] == items
        return np.where(in_batch, self._log_share[position], -np.inf)


def _log(probability: Floats) -> Floats:
    with np.errstate(divide="ignore"):  # an item that is never drawn has -inf
        return np.log(probability)


def _alias_table(probability: Floats) -> tuple[Floats, Ints]:
    """For each cell (V,), the chance to keep it and the item that takes the rest of it.

    Light items fill less than their cell, heavy ones more.  One sweep goes through both in order:
    the current heavy item fills up light cells until it is light itself; then the next heavy item
    fills up its cell and goes on.  Which heavy item meets which light cell follows from the running
    sums of what light cells lack and of what heavy items have left, so nothing needs a loop.  The
    sums are of integers: a cell is cut into equal units, so that no error builds up over V cells.
    """
    v = len(probability)
    units_per_cell = 1 << (62 - v.bit_length())  # V cells of units stay below 2 ** 62
    units = np.rint(probability * (v * float(units_per_cell))).astype(np.int64)  # (V,)
    large = np.flatnonzero(units >= units.max() // 2)  # what rounding lost goes where it is least
    each, rest = divmod(v * units_per_cell - int(units.sum()), len(large))
    units[large] += each
    units[large[:rest]] += 1

    light, heavy = np.flatnonzero(units < units_per_cell), np.flatnonzero(units > units_per_cell)
    keep = np.ones(v)
    alias = np.arange(v)
    if len(light):
        lacking = np.cumsum(units_per_cell - units[light])
        left_over = np.cumsum(units[heavy] - units_per_cell)  # ends where `lacking` ends
        before = np.concatenate([[0], lacking[:-1]])
        keep[light] = units[light] / units_per_cell
        alias[light] = heavy[np.searchsorted(left_over, before, side="right")]
        emptied_by = np.searchsorted(lacking, left_over[:-1])  # the light cell that was too much
        keep[heavy[:-1]] = 1 - (lacking[emptied_by] - left_over[:-1]) / units_per_cell
        alias[heavy[:-1]] = heavy[1:]
    return keep, alias
