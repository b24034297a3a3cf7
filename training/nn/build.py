"""From parameters to the parts they name: the plan of batches, negatives, rewards, the prior.

N events, V items, n targets of a batch, S negatives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.array_types import Bools, Floats32, Ints
from pipeline.errors import HourglassError, UsageError
from training.batching.negatives import (
    Excluded,
    SeenItems,
    accidental_hits,
    importance_log_weight,
    union,
)
from training.batching.plan import lanes_plan, windows_plan
from training.batching.samplers import (
    AliasSampler,
    BatchSampler,
    LocalSampler,
    Sampler,
    UniformSampler,
)
from training.batching.targets import TargetSplit
from training.data.reader import DataSet, Histories
from training.nn.parameters import SESSION_PLANS, WINDOW_PLANS, NeuralParameters
from training.trainer.distributed import ProcessGroup
from training.trainer.interface import Plan


def plan_of(chosen: NeuralParameters, histories: Histories, learned: Bools, seed: int) -> Plan:
    """The plan of batches that the parameters name, over the events ``learned`` (N,)."""
    if chosen.plan in WINDOW_PLANS:
        return windows_plan(
            histories,
            learned,
            unit="sessions" if chosen.plan in SESSION_PLANS else "users",
            max_len=chosen.max_len,
            batch_events=chosen.batch_events,
            min_batches=chosen.min_batches,
            seed=seed,
        )
    return lanes_plan(
        histories,
        learned,
        unit=chosen.plan,
        batch_events=chosen.batch_events,
        bptt_steps=chosen.bptt_steps,
        min_batches=chosen.min_batches,
        seed=seed,
    )


@dataclass(frozen=True)
class Drawn:
    """What stands for all other items in a batch."""

    item: Tensor  # (S,) 1-based
    log_weight: Tensor | None  # (S,)
    excluded: Excluded

    def to(self, device: torch.device) -> Drawn:
        """The same on a device."""
        excluded = self.excluded
        moved = (
            excluded.to(device)
            if isinstance(excluded, Tensor)
            else (excluded[0].to(device), excluded[1].to(device))
        )
        weight = None if self.log_weight is None else self.log_weight.to(device)
        return Drawn(self.item.to(device), weight, moved)


@dataclass(frozen=True)
class Negatives:
    """Draws the negatives of a batch, shared by all its targets.

    ``sampler``: the distribution, given the batch's targets (n,) and all its items (m,), 0-based.
    ``seen_items``: leaves out what a target's user has met before, besides the target itself.
    """

    n: int
    sampler: Callable[[Ints, Ints], Sampler]
    corrected: bool
    seen_items: SeenItems | None

    def draw(
        self, user: Ints, event: Ints, target: Ints, items: Ints, rng: np.random.Generator
    ) -> Drawn:
        """Negatives of targets (n,), 1-based, of users (n,) at events (n,).

        ``items`` (m,) are all of the batch, 1-based.
        """
        sampler = self.sampler(target - 1, items - 1)
        drawn = sampler.draw(self.n, rng)  # (S,) 0-based
        item = torch.from_numpy(drawn + 1)
        hits = accidental_hits(torch.from_numpy(target), item)
        excluded: Excluded = hits
        if self.seen_items is not None:
            excluded = union(torch.from_numpy(self.seen_items.mask(user, drawn, event)), hits)
        log_weight = None
        if self.corrected:
            log_q = torch.from_numpy(sampler.log_probability(drawn)).float()
            log_weight = importance_log_weight(log_q)
        return Drawn(item, log_weight, excluded)


def negatives_of(chosen: NeuralParameters, data: DataSet, split: TargetSplit) -> Negatives:
    """The negatives that the parameters name.

    Raises:
        HourglassError: they come from the batch, of which each of several processes has a part.
    """
    if chosen.sampler in ("batch", "local") and ProcessGroup.here().world > 1:
        raise HourglassError(
            f"sampler = {chosen.sampler!r} draws from the whole batch, of which each process has "
            "a part: use 'frequency' or 'uniform', or one process"
        )
    n_items = len(data.item_ids)
    targets = np.asarray(data.histories.item)[split.learned] - 1
    events = np.bincount(targets, minlength=n_items)
    if chosen.sampler == "uniform":
        fixed: Sampler = UniformSampler(n_items)
    else:
        popularity = split.item_events(data.histories, data.item_events)
        fixed = AliasSampler.of_popularity(popularity, chosen.negative_power)
    frequency = events / max(1, int(events.sum()))
    makers: dict[str, Callable[[Ints, Ints], Sampler]] = {
        "frequency": lambda _targets, _items: fixed,
        "uniform": lambda _targets, _items: fixed,
        "batch": lambda targets, _items: BatchSampler(targets, frequency),
        "local": lambda _targets, items: LocalSampler(items),
    }
    items_of_user = None
    if chosen.sampler == "local" or chosen.unseen_negatives:
        items_of_user = SeenItems.of(data.histories.offsets, data.histories.item - 1, n_items)
    return Negatives(
        chosen.negatives,
        makers[chosen.sampler],
        chosen.log_q_correction,
        items_of_user,
    )


def rewards_of(chosen: NeuralParameters, histories: Histories) -> Floats32 | None:
    """r of each event (N,) by its type and its value, 1 where neither says any (HRNN 2.2, 3.3).

    None without rewards.

    Raises:
        UsageError: a type does not occur, or no event has a value.
    """
    if not chosen.rewards and not chosen.value_rewards:
        return None
    chosen.require_event_types(histories.event_types)
    by_code = np.array([chosen.rewards.get(name, 1.0) for name in histories.event_types])
    rewards = by_code[histories.event_type]  # (N,)
    if chosen.value_rewards:
        values, their_rewards = np.array(chosen.value_rewards).T
        is_valued = np.isfinite(histories.value)
        if not is_valued.any():
            raise UsageError(
                "value_rewards: no event has a value: name its column in source.columns.value"
            )
        rewards[is_valued] *= np.interp(histories.value[is_valued], values, their_rewards)
    return rewards.astype(np.float32)


class FrequencyPrior:
    """log q of items by their frequency in training, whatever the time (HRNN 4.4).

    Added to the scores of training only: what is learned then is how likely an item is chosen
    where it can be seen, and a lower ``temperature`` takes out more of how often it could.
    """

    def __init__(self, item_events: Ints, temperature: float) -> None:
        events = np.maximum(item_events, 1)
        self._log_q = (np.log(events / events.sum()) / temperature).astype(np.float32)  # (V,)

    def of(self, event: Ints, column: Ints | slice) -> Floats32:  # noqa: ARG002
        """log q / temperature of the items column + 1; the events do not matter."""
        values: Floats32 = self._log_q[column]
        return values
