"""The simulated world: who reads, what there is to read, and how both come to be.

Shapes: ``U`` users, ``I`` items, ``K`` topics, ``D`` dimensions of taste.

Each part draws from a generator of its own, keyed by the seed and what the part is (a day of
items, say), so that simulating for longer adds to a world and changes nothing in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from pipeline.array_types import Floats, Ints
from pipeline.hours import US_PER_HOUR, Hour
from pipeline.settings.simulator import SimulatorSettings

DAY_H = 24
# Items are born for this long before the first hour, so that it has a front page.
WARM_UP_DAYS = 3

TOPICS = (
    "politics",
    "business",
    "sport",
    "science",
    "culture",
    "travel",
    "health",
    "technology",
)
DEVICES = ("phone", "desktop", "tablet")


_STORY_ITEMS = 5
_STORY_STEP_H = 2.0
_TASTE_NOISE = 0.35
_STORY_NOISE = 0.35
_ITEM_NOISE = 0.15
_LIFE_SPREAD = 0.5
_QUALITY_SPREAD = 0.7
_ACTIVITY_SHAPE = 1.5
_PHASE_SPREAD_H = 3.0
_RHYTHM_DEPTH = 0.85
_RHYTHM_PEAK_H = 15.0


class Stream(IntEnum):
    """What a random generator is for; the numbers are part of what a seed means."""

    TOPICS = 0
    USERS = 1
    ITEMS = 2
    HOURS = 3
    FAULTS = 4
    LOADS = 5
    SCENARIO = 6


def generator(seed: int, stream: Stream, index: int = 0) -> np.random.Generator:
    """The generator of one part of the world."""
    return np.random.default_rng([seed, int(stream), index])


@dataclass(frozen=True)
class Users:
    """Readers: a unit vector of taste, how often, how long and when they read."""

    ids: list[str]
    cluster: Ints  # (U,) the topic they are closest to
    taste: Floats  # (U, D) of length 1
    sessions_per_day: Floats  # (U,)
    session_events: Floats  # (U,) mean
    phase_h: Floats  # (U,) how much later than others they live
    device: Ints  # (U,) index into DEVICES


@dataclass(frozen=True)
class Items:
    """Articles, in an order that does not depend on how long the world is simulated.

    Attention to an item of age ``a`` is the density of a gamma distribution of shape 2 scaled to
    1 at its peak: ``(a / peak) * exp(1 - a / peak)``.
    """

    ids: list[str]
    topic: Ints  # (I,)
    story: Ints  # (I,) articles of a story follow each other
    instalment: Ints  # (I,) place in the story, from 0
    vector: Floats  # (I, D) of length 1
    quality: Floats  # (I,) positive
    born_us: Ints  # (I,)
    peak_h: Floats  # (I,)
    words: Ints  # (I,)

    def attention(self, now_us: int) -> Floats:
        """Attention of each item at an instant, from 0 (unborn) to 1 (at its peak). (I,)"""
        age = np.maximum(now_us - self.born_us, 0) / (self.peak_h * US_PER_HOUR)
        return np.asarray(age * np.exp(1.0 - age), dtype=np.float64)


@dataclass(frozen=True)
class World:
    """Everything that is true before anyone clicks."""

    start: Hour
    topics: Floats  # (K, D) of length 1
    users: Users
    items: Items


def topic_name(topic: int) -> str:
    """A word for a topic."""
    return TOPICS[topic] if topic < len(TOPICS) else f"topic-{topic}"


def rhythm(hour_of_day: Floats) -> Floats:
    """How much is read at an hour of the (personal) day: a wave with mean 1."""
    angle = (hour_of_day - _RHYTHM_PEAK_H) * (2 * np.pi / DAY_H)
    return 1.0 + _RHYTHM_DEPTH * np.cos(angle)


def build_world(settings: SimulatorSettings, stop: Hour) -> World:
    """The world of a seed, with all items born before ``stop``."""
    start = Hour.parse(settings.start)
    rng = generator(settings.seed, Stream.TOPICS)
    topics = _unit(rng.normal(size=(settings.topics, settings.taste_dims)))
    return World(start, topics, _users(settings, topics), _items(settings, topics, start, stop))


def _users(settings: SimulatorSettings, topics: Floats) -> Users:
    rng = generator(settings.seed, Stream.USERS)
    n = settings.users
    cluster = rng.integers(settings.topics, size=n)
    noise = rng.normal(scale=_TASTE_NOISE, size=(n, settings.taste_dims))
    activity = rng.gamma(_ACTIVITY_SHAPE, 1 / _ACTIVITY_SHAPE, size=n)
    binges = rng.random(n) < settings.binge_share
    factor = np.where(binges, settings.binge_factor, 1.0)
    mean_factor = 1 + settings.binge_share * (settings.binge_factor - 1)
    return Users(
        ids=[f"u{user:06d}" for user in range(n)],
        cluster=cluster,
        taste=_unit(topics[cluster] + noise),
        sessions_per_day=settings.sessions_per_day * activity,
        session_events=1 + (settings.session_events - 1) * factor / mean_factor,
        phase_h=rng.normal(scale=_PHASE_SPREAD_H, size=n),
        device=rng.choice(len(DEVICES), p=[0.6, 0.3, 0.1], size=n),
    )


def _items(settings: SimulatorSettings, topics: Floats, start: Hour, stop: Hour) -> Items:
    days = (stop.index - start.index + DAY_H - 1) // DAY_H + WARM_UP_DAYS
    first_us = (start.index - WARM_UP_DAYS * DAY_H) * US_PER_HOUR
    batches = [
        _items_of_day(settings, topics, day, first_us + day * DAY_H * US_PER_HOUR)
        for day in range(days)
    ]
    joined = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    # The last day is whole only where the simulation ends with it.
    born = joined["born_us"] < stop.index * US_PER_HOUR
    ids = [f"n{item:06d}" for item in np.flatnonzero(born)]
    return Items(ids=ids, **{key: values[born] for key, values in joined.items()})


def _items_of_day(
    settings: SimulatorSettings, topics: Floats, day: int, day_us: int
) -> dict[str, Floats | Ints]:
    rng = generator(settings.seed, Stream.ITEMS, day)
    n = settings.items_per_day
    stories = (n + _STORY_ITEMS - 1) // _STORY_ITEMS
    dims = settings.taste_dims
    story_topic = rng.integers(settings.topics, size=stories)
    story_vector = topics[story_topic] + rng.normal(scale=_STORY_NOISE, size=(stories, dims))
    story_hour = rng.uniform(0, DAY_H, size=stories)
    story = np.arange(n) % stories
    instalment = np.arange(n) // stories
    delay_h = instalment * _STORY_STEP_H * rng.uniform(0.5, 1.5, size=stories)[story]
    born_h = story_hour[story] + delay_h
    return {
        "topic": story_topic[story],
        "story": day * stories + story,
        "instalment": instalment,
        "vector": _unit(story_vector[story] + rng.normal(scale=_ITEM_NOISE, size=(n, dims))),
        "quality": rng.lognormal(sigma=_QUALITY_SPREAD, size=n),
        "born_us": day_us + (born_h * US_PER_HOUR).astype(np.int64),
        "peak_h": settings.item_peak_h * rng.lognormal(sigma=_LIFE_SPREAD, size=n),
        "words": rng.integers(150, 1500, size=n),
    }


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float64)
