"""Protocol F: does the item-trend decomposition tell taste from exposure? (HRNN section 3.2).

A simulated site's truth is known: each user's taste and each item's vector, whose product is the
affinity, and what the front page made of it.  After T every user's affinities are read off the
model, without any popularity prior, and compared with the true ones.

n users, V items.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.figures import Figures, Runs
from benchmarks.quality.logs import Coded, log_of
from benchmarks.quality.parts import US_PER_HOUR, Parts, parts_of
from benchmarks.quality.progress import Say
from benchmarks.quality.ranking import Entry, figures, fitted, freshened, rule
from pipeline.hours import Hour, HourRange
from pipeline.settings.simulator import SimulatorSettings
from pipeline.simulator import simulate
from training.data.reader import Requests
from training.models.parts.recurrent import RecurrentModel

AGES_H = ((0, 12), (12, 36), (36, 72))
_LEARNED_H = 84
_ASKED_H = 12
_MIN_ITEM_EVENTS = 10
_USERS = 1500

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """What is learned from, and the truth about it."""

    parts: Parts
    requests: Requests  # (n,) at T
    affinity: Floats  # (n, V) taste . vector
    age_h: Floats  # (V,) at T


def world(
    seed: int, learned_h: int = _LEARNED_H, asked_h: int = _ASKED_H, users: int = 4000
) -> World:
    """Simulate a site; robots and the faults of its log are left out."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    settings = SimulatorSettings(seed=seed, users=users)
    start = Hour.parse(settings.start)
    as_of = start + learned_h
    with tempfile.TemporaryDirectory() as folder:
        truth = Path(folder) / "truth"
        hours = HourRange(start, as_of + asked_h)
        simulate(settings, Path(folder) / "landing", truth, hours)
        events = pq.read_table(truth / "events.parquet")
        people = pq.read_table(truth / "users.parquet")
        items = pq.read_table(truth / "items.parquet")
    events = events.filter(pc.is_valid(events["affinity"]))  # robots have none
    log = log_of(
        Coded.of(events["user_id"].to_numpy()),
        Coded.of(events["item_id"].to_numpy()),
        events["event_time"].cast("int64").to_numpy(),
        Coded.of(events["event_type"].to_numpy()),
    )
    before = log.time_us < as_of.index * US_PER_HOUR
    parts = parts_of(log.take(before), log, as_of, _MIN_ITEM_EVENTS)
    histories = parts.train.histories
    asked = np.arange(len(histories.user_ids))[:_USERS]
    requests = Requests(
        user=asked,
        length=histories.lengths[asked],
        now_us=np.full(len(asked), as_of.index * US_PER_HOUR),
    )
    row = {name: at for at, name in enumerate(people["user_id"].to_pylist())}
    place = {name: at for at, name in enumerate(items["item_id"].to_pylist())}
    known = [place[item] for item in parts.train.item_ids]
    tastes = people["taste"].to_pylist()
    taste = np.array([tastes[row[user]] for user in histories.user_ids[asked]])
    vectors = np.array(items["vector"].to_pylist())[known]
    born_us = items["born"].cast("int64").to_numpy()[known]
    return World(parts, requests, taste @ vectors.T, as_of.index * 1.0 - born_us / US_PER_HOUR)


def correlation(found: Floats, true: Floats) -> float:
    """Pearson's correlation over all pairs (n, V), each user's own level taken out.

    A softmax does not know the level of a user's scores.
    """
    found = found - found.mean(axis=1, keepdims=True)
    true = true - true.mean(axis=1, keepdims=True)
    return float((found * true).sum() / np.sqrt((found**2).sum() * (true**2).sum()))


def truth_figures(system: RecurrentModel, known: World) -> Figures:
    """Correlations of what was learned with taste, within ages too, and with exposure."""
    train = known.parts.train
    learned = np.empty((len(known.requests), len(train.item_ids)))
    with system.inference():
        for rows, affinity in system.affinity_blocks(train.histories, known.requests):
            learned[rows] = affinity.cpu().numpy()
    found = {"taste": correlation(learned, known.affinity)}
    for low, high in AGES_H:
        of_age = (known.age_h >= low) & (known.age_h < high)
        found[f"taste {low}-{high} h"] = correlation(learned[:, of_age], known.affinity[:, of_age])
    exposure = np.log(train.item_events)[None].repeat(len(learned), axis=0)
    found["exposure"] = correlation(learned, exposure)
    return found


def compared(
    entries: Sequence[Entry], seeds: Sequence[int], say: Say
) -> tuple[dict[str, Runs], dict[str, int]]:
    """Figures of systems; each seed is another world and begins other weights."""
    rows: dict[str, list[Figures]] = {entry.name: [] for entry in entries}
    sizes: dict[str, int] = {}
    for seed in seeds:
        known = world(seed)
        sizes = {**known.parts.said, "asked_users": len(known.requests)}
        for entry in entries:
            system = fitted(entry, known.parts.train, seed)
            assert isinstance(system, RecurrentModel)
            found = {
                **truth_figures(system, known),
                **figures(freshened(system, known.parts.test), known.parts.test, rule("drop")),
            }
            rows[entry.name].append(found)
            say(f"{entry.name}, seed {seed}", found)
    return {name: Runs(found) for name, found in rows.items()}, sizes
