"""V-SkNN: the items of sessions that resemble the current one, recent sessions first.

Vector session nearest neighbours (Ludewig and Jannach 2018):

    score(j) = idf(j) * held(j)

with what the nearest sessions hold by `training.models.parts.neighbours.session_similarity`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.models.parts.neighbours.session_neighbours import SessionNeighbours
from training.models.parts.neighbours.session_similarity import SimilarityRule
from training.parameters import require


@dataclass(frozen=True)
class VSknnParameters:
    """How sessions are compared.

    ``neighbours``: sessions whose items are scored.
    ``sessions_per_item``: only so many of an item's latest sessions are searched.
    ``half_life_h``: a session this much older counts half; 0 turns the decay off.
    ``idf``: weigh an item by log(sessions / sessions with it).
    ``last_events``: at most so many events of the current session are compared.
    ``last_shared``: a session counts a tenth less for each event since one that it holds too, as
    published.
    ``repeats``: whether the item just seen may be recommended again.
    """

    neighbours: int = SimilarityRule.neighbours
    sessions_per_item: int = SimilarityRule.sessions_per_item
    half_life_h: float = SimilarityRule.half_life_h
    idf: bool = True
    last_events: int = SimilarityRule.last_events
    last_shared: bool = False
    repeats: bool = False

    def __post_init__(self) -> None:
        for name in ("neighbours", "sessions_per_item", "last_events"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.half_life_h >= 0, "half_life_h", self.half_life_h, "0 or more")


class VSknn(SessionNeighbours):
    """See the module."""

    name: ClassVar[str] = "vsknn"

    def __init__(self, parameters: VSknnParameters) -> None:
        self.parameters = p = parameters
        rule = SimilarityRule(
            p.neighbours,
            p.sessions_per_item,
            p.half_life_h,
            p.last_events,
            last_shared=p.last_shared,
        )
        super().__init__(rule, None if p.idf else 0.0, p.repeats)
