"""Where raw logs lie, and which column or path of them is which field of an event."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from pipeline.settings.field_types import NothingText, TimeFormats, TimeUnit, list_of_texts
from pipeline.settings.folders import LocalPath
from pipeline.settings.ignore import IgnoreRule
from pipeline.settings.section import Section, as_before
from pipeline.settings.time_text import check_path_patterns, check_zone


class ColumnSettings(Section):
    """Which column (delimited) or dotted path (other formats) feeds which field of an event."""

    event_time: str = Field("event_time", description="when it happened; see source.time_unit")
    user_id: str = Field("user_id", description="who did it")
    item_id: str = Field("item_id", description="on what")
    event_type: str | None = Field(
        None, description="what was done, like view or buy; null: source.default_event_type"
    )
    value: str | None = Field(None, description="a number: rating, price, seconds read ...")
    event_key: str | tuple[str, ...] | None = Field(
        None,
        description="the log's own id of the event, by which repeats are found, or a list of "
        "columns that are one together; null: the whole event is compared, as it is where a "
        "record lacks one of them",
    )
    given_session: str | None = Field(None, description="the log's own session id")
    context: dict[str, str] = Field(
        {}, description="context fields by name, such as device: ua_class"
    )
    event_time_fallback: str | None = Field(
        None,
        description="when it happened where event_time is absent (or cannot be read, and "
        "source.bad_values is drop), in the same unit or format",
        json_schema_extra=as_before(None),
    )
    user_fallback: str | None = Field(
        None,
        description="who did it where user_id is absent, such as an anonymous id",
        json_schema_extra=as_before(None),
    )
    sent_time: str | None = Field(
        None,
        description="when the device sent the record, by the clock that event_time is of: then "
        "event_time + (received_time - sent_time) is taken, where both are there; a fallback is "
        "taken as it is",
        json_schema_extra=as_before(None),
    )
    received_time: str | None = Field(
        None,
        description="when the server received the record, by its own clock; see sent_time",
        json_schema_extra=as_before(None),
    )

    @field_validator("event_key")
    @classmethod
    def _single_or_several(cls, key: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if isinstance(key, tuple):
            if not key or len(set(key)) < len(key):
                raise ValueError("name at least one column, each once")
            return key[0] if len(key) == 1 else key
        return key

    @model_validator(mode="after")
    def _both_clocks(self) -> Self:
        if (self.sent_time is None) != (self.received_time is None):
            raise ValueError("a clock is corrected by sent_time and received_time: set both")
        return self

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns that are the event's key together."""
        key = self.event_key
        return () if key is None else (key,) if isinstance(key, str) else key


class SourceSettings(Section):
    """Where raw logs lie and how they are read."""

    name: str = Field(
        "simulator",
        description="the format: delimited, json_lines, parquet, orc, avro, access_log, or one of "
        "the known logs, such as movielens; docs/reference/sources.md has them all",
    )
    path: LocalPath = Field(Path("work/landing"), description="file or folder of the raw logs")
    pattern: str = Field("**/*", description="glob, below path, of the files to ingest")
    arrival: Annotated[str | tuple[str, ...], AfterValidator(check_path_patterns)] | None = Field(
        None,
        description="how paths below source.path tell when a file arrived, with %Y (or %y), %m, "
        "%d, %H, %M and %S as in strptime: dt=%Y-%m-%d/hour=%H, or clicks-%Y%m%d%H; of a list the "
        "first that fits. null: by the innermost folder called exactly like 2026-11-21T13, in UTC "
        "(gharchive: first by the file's own name, like 2026-11-21-13.json.gz)",
        json_schema_extra=as_before(None),
    )
    arrival_timezone: Annotated[str, AfterValidator(check_zone)] | None = Field(
        None,
        description="of the times in source.arrival, like Europe/Berlin; null: that of "
        "source.timezone, or else UTC",
        json_schema_extra=as_before(None),
    )
    encoding: str = Field("utf-8", description="of the text; a newline must be one byte in it")
    delimiter: str = Field(
        ",", min_length=1, max_length=1, description="one character between two columns"
    )
    header: bool = Field(True, description="whether the first line names the columns")
    quote: str | None = Field('"', description="around fields that hold a delimiter; null: none")
    quoted_newlines: bool = Field(
        False,
        description="of delimited: whether a field within quotes may hold line ends, so that a "
        "record is of several lines; false: each line is a record, and such a field is refused in "
        "pieces",
        json_schema_extra=as_before(False),
    )
    field_names: tuple[str, ...] = Field((), description="names of a log without a header")
    decimal: Literal[".", ","] = Field(
        ".",
        description="of delimited: what stands before the fraction of a value, or of a time that "
        "is a number. With a comma 12,5 is 12.5, and what has a point (12.5, 1.234,5) is no number",
        json_schema_extra=as_before("."),
    )
    columns: ColumnSettings = ColumnSettings()
    time_unit: TimeUnit = Field(
        "s", description="of event_time: a number in this unit, or text in ISO 8601"
    )
    time_format: TimeFormats = Field(
        (),
        description="in the place of time_unit: how times are written, like %d.%m.%Y %H:%M:%S "
        "(Python's strptime); of a list the first that fits",
        json_schema_extra=as_before(()),
    )
    timezone: Annotated[str, AfterValidator(check_zone)] | None = Field(
        None,
        description="of times written without a zone, like Europe/Berlin; null: UTC. The hour "
        "that comes twice in autumn is the first of the two; a time in the hour that spring leaves "
        "out is moved forward by it (02:30 is 03:30)",
        json_schema_extra=as_before(None),
    )
    epoch: str = Field("1970-01-01T00", description="what a numeric time of 0 means")
    default_event_type: str = Field("view", description="of events that name no type")
    event_types: Annotated[tuple[str, ...], BeforeValidator(list_of_texts)] = Field(
        (), description="the known types; empty accepts any"
    )
    explode: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="of json_lines, parquet, orc and avro: dotted path of a list, each element of "
        "which is a record; columns.item_id may be items.id then. A list that is empty is one "
        "record without an element; an event_key from outside the list gets the element's number",
        json_schema_extra=as_before(None),
    )
    nothing: tuple[NothingText, ...] = Field(
        (),
        description="texts that mean no value, beside the empty one; many logs need some of "
        '"NULL", "null", "\\N", "NaN", "nan", "None", "(not set)", "-"',
        json_schema_extra=as_before(()),
    )
    trim: bool = Field(
        True,
        description="white space around user, item, type, session, key and time does not count, "
        "and a number of JSON is the same id however it is written (7.0 is 7)",
        json_schema_extra=as_before(False),
    )
    bad_values: Literal["drop", "refuse"] = Field(
        "drop",
        description="what an optional field that cannot be read (value, session, times beside "
        "event_time) costs: drop, that field, counted in the summary; refuse, the record. Context "
        "that is a list or an object is dropped in any case",
        json_schema_extra=as_before("refuse"),
    )
    ignore: tuple[IgnoreRule, ...] = Field(
        (),
        description="records that are none of our business, by any of these rules: counted, and "
        "neither events nor in quarantine",
        json_schema_extra=as_before(()),
    )
    items_path: LocalPath | None = Field(
        None,
        description="file of item metadata: JSON lines, or columns below a header",
    )
    users_path: LocalPath | None = Field(None, description="the same for users")
    people_path: LocalPath | None = Field(
        None,
        description="file, or folder of files, that says which id of the log is which person: "
        "anonymous_id and person_id, and valid_from, valid_to and told_at where they are known",
        json_schema_extra=as_before(None),
    )

    @model_validator(mode="after")
    def _decimal_apart(self) -> Self:
        if self.quote is None and self.decimal == self.delimiter:
            raise ValueError(
                f"decimal {self.decimal!r} is delimiter too, and without quote nothing tells them "
                "apart: set another delimiter, or quote"
            )
        return self

    @model_validator(mode="after")
    def _zone_of_arrivals(self) -> Self:
        if self.arrival_timezone is not None and self.arrival is None:
            raise ValueError("arrival_timezone is of the times in arrival: set both, or neither")
        return self

    @model_validator(mode="after")
    def _people_apart(self) -> Self:
        people, logs = self.people_path, self.path
        if people is not None and people.absolute().is_relative_to(logs.absolute()):
            raise ValueError(
                f"people_path {people} lies in path {logs}, all files of which are logs: put it "
                "elsewhere"
            )
        return self
