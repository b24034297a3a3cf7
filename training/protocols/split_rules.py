"""Keys of a protocol's ``split``: what is learned from, and what is asked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """Keys of a file; an unknown one is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LastDays(Strict):
    """Sessions that end in the last days are asked; those of ``validation_days`` before, unused."""

    kind: Literal["last_days"]
    days: Count
    validation_days: Annotated[int, Field(ge=0)] = 0


class TimeShare(Strict):
    """Sessions that end after the first ``share`` of the events are asked.

    ``new_users``: whether users are asked of whom nothing was learned.
    """

    kind: Literal["time_share"]
    share: Share
    new_users: bool = True


class RandomUsers(Strict):
    """Users are drawn: ``learned`` and ``tested`` are shares; the others are unused."""

    kind: Literal["random_users"]
    learned: Share
    tested: Share
    seed: int = 0

    @model_validator(mode="after")
    def _no_user_twice(self) -> RandomUsers:
        if self.learned + self.tested > 1 + 1e-9:
            raise ValueError("learned and tested are more than 1 together")
        return self


class LastSessions(Strict):
    """The last ``share`` of each user's sessions are asked, at least one."""

    kind: Literal["last_sessions"]
    share: Share


class LeaveLastOut(Strict):
    """The last event of each user is asked."""

    kind: Literal["leave_last_out"]


class HalfGiven(Strict):
    """Of drawn users the second half of their events is asked for, once, given the first.

    ``users``: how many, at most half of all.
    """

    kind: Literal["half_given"]
    users: Count
    seed: int = 0


class ColdItems(Strict):
    """Half of the items, drawn, are in no history; lists are of these alone."""

    kind: Literal["cold_items"]
    seed: int = 0


class FlaggedQueries(Strict):
    """Of a search log, the queries that it flags are tested, each with one list of all products.

    ``share``: where no flagged query has a click, as where a contest hides them, the latest share
    of the queries instead.  ``cold_share``: of the products, drawn; they are in no query that is
    learned from, and tested queries want these alone.  Null: products are not parted.
    """

    kind: Literal["flagged_queries"]
    share: Share
    cold_share: Share | None = None
    seed: int = 0


Split = Annotated[
    LastDays
    | TimeShare
    | RandomUsers
    | LastSessions
    | LeaveLastOut
    | HalfGiven
    | ColdItems
    | FlaggedQueries,
    Field(discriminator="kind"),
]
