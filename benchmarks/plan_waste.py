"""What the plans of mini-batches compute in vain."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.array_types import Bools
from training.batching.lanes import LanesPlan
from training.batching.plan import lanes_plan, windows_plan
from training.batching.windows import WindowsPlan
from training.data.reader import Histories


@dataclass(frozen=True)
class Waste:
    """What one epoch of a plan computes; what is neither padding nor target warms states up."""

    cells: int
    padding: float  # share of the cells, 0 to 1
    targets: float  # share of the cells, 0 to 1


def waste_of(plan: LanesPlan | WindowsPlan) -> Waste:
    """What a plan computes in vain."""
    cells = plan.n_cells
    return Waste(cells, plan.padding, plan.n_targets / cells if cells else 0.0)


def waste_of_each(
    histories: Histories,
    learned: Bools,
    *,
    batch_events: int,
    bptt_steps: int,
    max_len: int,
    min_batches: int,
    seed: int,
) -> dict[str, Waste]:
    """What the plans by users, by sessions and by windows would compute in vain, by name."""
    plans: dict[str, LanesPlan | WindowsPlan] = {
        unit: lanes_plan(
            histories,
            learned,
            unit=unit,
            batch_events=batch_events,
            bptt_steps=bptt_steps,
            min_batches=min_batches,
            seed=seed,
        )
        for unit in ("users", "sessions")
    }
    plans["windows"] = windows_plan(
        histories,
        learned,
        unit="users",
        max_len=max_len,
        batch_events=batch_events,
        min_batches=min_batches,
        seed=seed,
    )
    return {name: waste_of(plan) for name, plan in plans.items()}
