"""What becomes an event, a session and a data set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from pipeline.settings.field_types import YEAR_H, ContextName, Duration, EventType, list_of_texts
from pipeline.settings.section import Section, as_before, in_no_digest


class IngestSettings(Section):
    """What a record must be like to become an event."""

    earliest: str = Field("1990-01-01T00", description="an event before this hour is refused")
    max_skew_s: int = Field(300, ge=0, description="tolerated lead of a producer's clock")
    max_lateness: Duration | None = Field(
        "7d",
        description="how long before its file's arrival a record may have happened, where the "
        "path tells the arrival (source.arrival); null: any time",
    )
    key_window: Literal["all"] | Duration = Field(
        "7d",
        description="how far before an hour another may lie that told of the same event_key, for "
        "the event to be kept there alone; all: any time. Each run reads the keys of so many hours",
    )
    equal_records: Literal["events", "duplicates"] = Field(
        "events",
        description="what the second of two records of one file is that say the same (context "
        "aside), in a log without event keys: an event of its own, or a duplicate. Between two "
        "files it is a duplicate, so a file that comes twice adds nothing",
        json_schema_extra=as_before("duplicates"),
    )
    max_id_chars: int = Field(512, ge=1, description="longer user and item ids are refused")
    max_record_chars: int = Field(65536, ge=64, description="longer lines are refused")
    max_expansion: int = Field(
        200,
        ge=1,
        description="a packed file is read up to this many times its size (16 MiB always), the "
        "rest is refused; so is a file of Parquet, ORC or Avro that holds more, and a line "
        "whose exploded elements together hold more than this many times max_record_chars",
    )


class SessionSettings(Section):
    """When one session ends and the next begins (ASARS 3.1)."""

    gap_s: int = Field(
        3600,
        ge=1,
        le=YEAR_H * 3600,
        description="this much silence, or more, starts a new session",
    )
    max_session_hours: int = Field(24, ge=1, le=YEAR_H, description="longer sessions are cut")
    given: bool = Field(False, description="the log's own session ids separate sessions too")
    passive_types: Annotated[tuple[EventType, ...], BeforeValidator(list_of_texts)] = Field(
        (),
        description="event types that nobody does, like heartbeat or push: they stay in events, "
        "neither begin nor extend a session, and are in no session and no popularity. One on the "
        "item of the user's event before, less than gap_s after it, tells how long that lasted",
        json_schema_extra=as_before(()),
    )
    # With these two as they are, hours of before there were marks stand as they were made: few logs
    # have any, and who has makes them again.
    robot_events_per_hour: int | None = Field(
        1000,
        ge=1,
        description="a user's events of an hour are marked as a robot's where they are more than "
        "this (passive ones aside); null: not for their number",
        json_schema_extra=as_before(1000),
    )
    robot_run_hours: int | None = Field(
        24,
        ge=1,
        le=YEAR_H,
        description="and those that lie this long or longer after the first event of a run without "
        "any silence of gap_s; null: not for that",
        json_schema_extra=as_before(24),
    )


class DatasetSettings(Section):
    """What a model may learn from."""

    window: Duration = Field("10h", description="how far before its time a data set reaches")
    history: Duration = Field("7d", description="how far before the window context may reach")
    max_history_events: int = Field(
        200, ge=0, description="of a user, before the window; the latest are taken"
    )
    popularity_window: Duration = Field(
        "72h", description="how far before an event its hourly popularity is known"
    )
    min_item_events: int = Field(
        10, ge=1, description="items with fewer events in the window are left out"
    )
    min_session_events: int = Field(
        2, ge=1, description="then: sessions with fewer events are left out"
    )
    min_user_sessions: int = Field(
        1, ge=1, description="then: users with fewer sessions are left out"
    )
    support_passes: Literal["single", "fixed_point"] = Field(
        "single", description="whether these three run once, or until nothing more is left out"
    )
    event_types: tuple[str, ...] = Field((), description="types to learn from; empty takes all")
    max_dwell_bins: int = Field(64, ge=2, description="the last bin holds the tail")
    events_per_shard: int = Field(
        2_000_000, ge=1, description="size of a shard; a user's history is never split"
    )
    as_known: bool = Field(
        False,
        description="whether events that came later than the data set's time are left out, though "
        "they happened before it; false: all that happened, as far as it is known now",
        json_schema_extra=in_no_digest(),
    )
    context: tuple[ContextName, ...] = Field(
        (),
        description="context fields of events that models may use, of the coming request too: a "
        "field that tells the item, like the page, would give the answer away",
    )
    max_context_values: int = Field(1000, ge=1, description="of a field; rarer ones are unknown")
    cold_items: bool = Field(
        False, description="items of the items table join the vocabulary without any support"
    )
    text_tokens: bool = Field(False, description="the words of an item's text are features too")
    min_token_items: int = Field(2, ge=1, description="items (or users) that must share a feature")
    max_tokens: int = Field(50_000, ge=1, description="the most frequent features are kept")

    @field_validator("context")
    @classmethod
    def _names_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"names {twice[0]!r} twice")
        return names
