"""STAN and V-STAN: neighbours by when, where and beside what they held the current items.

Sequence and time aware neighbourhood (Garg et al. 2019).  With the current session's items at
positions p(i) = 1 .. L,

    similarity(s) = 2 ** (-age(s) / half_life)
                    * sum over shared i of exp((p(i) - L) / position_decay) / sqrt(items of s)
    score(j)      = (1 + idf_weight * idf(j)) * sum over the nearest s of
                    similarity(s) * exp(-|p_s(j) - p_s(i*)| / place_decay)

where i* is the item of both that is latest in s.  ``idf_weight`` and ``last_shared``, of V-SkNN,
make it V-STAN.  A half-life of 48 h is the decay exp(-age / 69 h).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.models.parts.neighbours.session_neighbours import SessionNeighbours
from training.models.parts.neighbours.session_similarity import SimilarityRule
from training.parameters import require


@dataclass(frozen=True)
class StanParameters:
    """How sessions are compared, and what of them counts.

    ``neighbours``: sessions whose items are scored.
    ``sessions_per_item``: only so many of an item's latest sessions are searched.
    ``position_decay``: an item so many events before the last counts 1/e; 0: in proportion.
    ``half_life_h``: a session this much older counts half; 0 turns the decay off.
    ``place_decay``: what a session holds so many events from i* counts 1/e; 0: all alike.
    ``idf_weight``: what idf adds to the weight of an item, which is 1; 0 as in STAN.
    ``last_shared``: a session counts a tenth less for each event since one that it holds too.
    ``last_events``: at most so many events of the current session are compared.
    ``repeats``: whether the item just seen may be recommended again.
    """

    neighbours: int = 500
    sessions_per_item: int = SimilarityRule.sessions_per_item
    position_decay: float = 1.0
    half_life_h: float = SimilarityRule.half_life_h
    place_decay: float = 2.0
    idf_weight: float = 0.0
    last_shared: bool = False
    last_events: int = SimilarityRule.last_events
    repeats: bool = False

    def __post_init__(self) -> None:
        for name in ("neighbours", "sessions_per_item", "last_events"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("position_decay", "half_life_h", "place_decay", "idf_weight"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")


class Stan(SessionNeighbours):
    """See the module."""

    name: ClassVar[str] = "stan"

    def __init__(self, parameters: StanParameters) -> None:
        self.parameters = p = parameters
        rule = SimilarityRule(
            p.neighbours,
            p.sessions_per_item,
            p.half_life_h,
            p.last_events,
            position_decay=p.position_decay,
            normalised=True,
            place_decay=p.place_decay,
            last_shared=p.last_shared,
        )
        super().__init__(rule, p.idf_weight, p.repeats)
