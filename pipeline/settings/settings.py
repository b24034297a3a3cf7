"""All settings, from one YAML file and ``HOURGLASS_*`` environment variables.

Environment variables override the file (``HOURGLASS_SPARK__MASTER=local[4]``).  A key or variable
that no class below names, or a key that stands twice, is an error, so that a misspelt setting
never passes for its default.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pipeline.errors import HourglassError, UsageError, suggest
from pipeline.hours import parse_duration_h
from pipeline.settings.environment import environment_values, variable_of
from pipeline.settings.folders import LocalFolder, LocalPath, sqlite_address
from pipeline.settings.former_keys import with_present_names
from pipeline.settings.ignore import IgnoreRule
from pipeline.settings.section import Section, as_before, keys_as_before
from pipeline.settings.time_text import check_formats, check_zone
from pipeline.settings.yaml_text import read_yaml
from pipeline.text.masking import remember_secret_variables, remember_secrets


def _duration(text: str) -> str:
    try:
        parse_duration_h(text)
    except HourglassError as error:
        raise ValueError(str(error)) from error
    return text


Duration = Annotated[str, AfterValidator(_duration)]
TimeUnit = Literal["d", "h", "min", "s", "ms", "us", "ns", "iso8601"]
# Names travel into SQL joined by U+001F.
ContextName = Annotated[str, Field(min_length=1, pattern=r"^[^\x1f]+$")]
_YEAR_H = 366 * 24
ALL_HOURS = "all"
# Names of folders and of formats that say nothing of whose they are.
_ANY_FOLDER = frozenset({"work", "landing", "raw", "data", "logs", "log", "input", "tmp"})
_ANY_FORMAT = frozenset({"delimited", "json_lines", "parquet", "orc", "avro", "access_log"})
Fraction = Annotated[float, Field(ge=0, le=1)]


def _text_of_nothing(value: object) -> object:
    if value is None:
        raise ValueError('without quotes YAML takes this for no text at all: write "NULL"')
    return value


def _list_of_texts(value: object) -> object:
    if isinstance(value, str):
        raise ValueError(f"write a list: [{value}]")
    return value


EventType = Annotated[str, Field(min_length=1)]
NothingText = Annotated[str, BeforeValidator(_text_of_nothing)]
TimeFormats = Annotated[str | tuple[str, ...], AfterValidator(check_formats)]


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
        "columns that are one together; null: the whole event is compared",
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
    encoding: str = Field("utf-8", description="of the text; a newline must be one byte in it")
    delimiter: str = Field(
        ",", min_length=1, max_length=1, description="one character between two columns"
    )
    header: bool = Field(True, description="whether the first line names the columns")
    quote: str | None = Field('"', description="around fields that hold a delimiter; null: none")
    field_names: tuple[str, ...] = Field((), description="names of a log without a header")
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
    event_types: Annotated[tuple[str, ...], BeforeValidator(_list_of_texts)] = Field(
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
    def _people_apart(self) -> Self:
        people, logs = self.people_path, self.path
        if people is not None and people.absolute().is_relative_to(logs.absolute()):
            raise ValueError(
                f"people_path {people} lies in path {logs}, all files of which are logs: put it "
                "elsewhere"
            )
        return self


class IngestSettings(Section):
    """What a record must be like to become an event."""

    earliest: str = Field("1990-01-01T00", description="an event before this hour is refused")
    max_skew_s: int = Field(300, ge=0, description="tolerated lead of a producer's clock")
    max_lateness: Duration | None = Field(
        "7d",
        description="how long before its file's arrival a record may have happened, where the "
        "file's name tells the arrival; null: any time",
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
        le=_YEAR_H * 3600,
        description="this much silence, or more, starts a new session",
    )
    max_session_hours: int = Field(24, ge=1, le=_YEAR_H, description="longer sessions are cut")
    given: bool = Field(False, description="the log's own session ids separate sessions too")
    passive_types: Annotated[tuple[EventType, ...], BeforeValidator(_list_of_texts)] = Field(
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
        le=_YEAR_H,
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


class ModelSettings(Section):
    """One candidate: a system, or a file that names one, and parameters that differ from its own.

    A text alone stands for a file, or for a system that has none.
    """

    name: str = Field(
        "", pattern=r"^[\w.-]*$", description="default: that of the system or of the file"
    )
    system: str | None = Field(
        None,
        description="a type of model, like pop, item_knn, hrnn_trend or sasrec; docs/models.md has "
        "them all",
    )
    file: str | None = Field(
        None, description="one of training/configs, like hrnn, or the path of your own YAML file"
    )
    parameters: dict[str, Any] = Field(
        {}, description="those that differ from the file's, or from the defaults of the system"
    )
    keep_optimiser: bool = Field(
        False, description="keep what --init-from needs to go on as if training had not stopped"
    )
    init_from: Literal["none", "champion", "previous", "self"] = Field(
        "none",
        description="continue from the live model, the one before it, or this entry's own latest; "
        "where there is none of its system yet, it begins anew",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: object) -> object:
        return {"file": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_parent(self) -> Self:
        if (self.system is None) == (self.file is None):
            raise ValueError("a model needs a system or a file, one of the two")
        if not self.name:
            # Frozen from here on; later checks and readers rely on the name.
            object.__setattr__(self, "name", self.system or Path(str(self.file)).stem)
        return self


class EvaluationSettings(Section):
    """How systems are compared: over all items, next item, ties against the model."""

    k: int = Field(20, ge=1, description="length of the ranked list that is judged")
    horizon: Duration = Field(
        "1h", description="how long after the data set's time its test events reach"
    )
    repeats: Literal["drop", "keep"] = Field(
        "drop", description="whether an event on the user's previous item is a target"
    )
    targets: Literal["all", "within_session"] = Field(
        "all", description="within_session leaves out the first event of each session"
    )
    bootstrap_samples: int = Field(1000, ge=100, description="behind the intervals, by user")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the leaderboard's intervals")


class GateSettings(Section):
    """What a candidate must show before it goes live."""

    metric: Literal["recall", "mrr", "ndcg"] = Field(
        "mrr", description="what is compared, at evaluation.k"
    )
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="1 - this: risk of one false promotion in a gate.period"
    )
    min_users: int = Field(30, ge=1, description="over all looks; with fewer the gate holds")
    min_targets: int = Field(200, ge=1, description="events over all looks; with fewer: hold")
    baseline: str = Field("recent_pop", description="the baseline that every candidate must beat")
    max_block_drop: Fraction = Field(
        0.10, description="a candidate surely worse than the champion by more than this is blocked"
    )
    period: Duration = Field(
        "7d", description="looks of one such period share the risk of one false promotion"
    )
    hour_swing: Fraction = Field(
        0.20, description="of the champion's figure: what the luck of one look may move it for all"
    )
    day_swing: Fraction = Field(
        0.05, description="of the champion's figure: the luck of a day, until days tell it"
    )
    slice_margin: Fraction = Field(
        0.20, description="of the champion's figure there: a slice must surely not lose as much"
    )
    min_slice_users: int = Field(100, ge=2, description="smaller slices are told, not judged")
    approval: bool = Field(False, description="whether a person must agree to each promotion")
    approval_timeout: Duration = Field("1h", description="without an answer until then: rejected")


class MonitorSettings(Section):
    """When the live model is rolled back (after each hour)."""

    confidence: float = Field(
        0.99, gt=0.5, lt=1, description="that a model as good as the baseline stays one gate.period"
    )
    min_users: int = Field(30, ge=2, description="with fewer, an hour condemns nobody")
    hours: int = Field(1, ge=1, description="the latest hours that are judged together")


class RetrainSettings(Section):
    """Which hours are worth a new model; `skip` alone lets one pass."""

    skip: bool = Field(False, description="whether hours in which little changed are skipped")
    max_age: Duration = Field("24h", description="a live model older than this is always retrained")
    max_unseen_share: Fraction = Field(0.05, description="events on items that it does not know")
    max_shift: Fraction = Field(0.15, description="total variation of popularity since then")
    max_metric_drop: Fraction = Field(0.05, description="of its own figures after its promotion")
    refit: bool = Field(False, description="promote a fit that learned from the judged hour too")
    catch_up: Duration | None = Field(
        "24h", description="how far back hours that ended unjudged are judged; null: none are"
    )


class QualitySettings(Section):
    """How validation is kept and read."""

    suites: LocalPath | None = Field(None, description="folder of your own expectation suites")
    keep: int = Field(200, ge=1, description="validation results kept in Data Docs")
    report_hours: int = Field(336, ge=1, description="how far back the report looks")


class RecommendSettings(Section):
    """What is recommended to whom."""

    k: int = Field(20, ge=1, description="items for each user")
    exclude_seen: Literal["none", "session", "history"] = Field(
        "none",
        description="leave out what the session still going on holds, or the user's whole history; "
        "true means history",
    )
    exclude_unavailable: bool = Field(
        True, description="leave out items that the items table says cannot be had at that time"
    )
    max_item_age: Duration | None = Field(
        None, description="leave out items that became available longer ago"
    )
    max_item_silence: Duration | None = Field(
        None, description="leave out items on which nobody did anything for so long"
    )
    popular_hours: Duration = Field("24h", description="what counts as popular, for new users")
    min_context_events: int = Field(
        100, ge=1, description="fewer in a context, and new users there get what is popular overall"
    )

    @field_validator("exclude_seen", mode="before")
    @classmethod
    def _of_bool(cls, value: object) -> object:
        text = str(value).lower()
        return {"true": "history", "false": "none"}.get(text, value)


class MaintainSettings(Section):
    """How long upkeep leaves things alone, and how large it makes files."""

    keep: Duration = Field("7d", description="how long a state stays readable after the next one")
    grace: Duration = Field("1d", description="files that changed since are never removed")
    target_mib: int = Field(128, ge=1, description="small files are joined up to this size")


class ArmSettings(Section):
    """One arm of a replay: a model, and when and on what it is fitted."""

    name: str = Field(pattern=r"^[\w.-]+$", description="of the arm, in table and picture")
    model: str = Field(
        "", description="a configured model, a system, one of training/configs, or a YAML file"
    )
    parameters: dict[str, Any] = Field({}, description="that differ from the model's own")
    first_parameters: dict[str, Any] = Field({}, description="that differ in the first fit alone")
    mode: Literal["offline", "fresh", "continued"] = Field(
        "fresh", description="fitted once, anew each time, or on from its own previous weights"
    )
    every: int = Field(1, ge=1, description="steps from one fit to the next")
    popularity: Literal["fresh", "frozen"] = Field(
        "fresh", description="whether recent popularity reaches a model that is not fitted"
    )
    window: Duration | None = Field(None, description="default: dataset.window")
    first_window: Duration | None = Field(None, description="of the first fit; default: window")
    min_item_events: int | None = Field(None, ge=1, description="default: dataset.min_item_events")
    skip_when_stale: bool = Field(
        False, description="whether fits that are not worth it are left out"
    )

    @model_validator(mode="after")
    def _model_of_its_name(self) -> Self:
        if not self.model:
            object.__setattr__(self, "model", self.name)
        return self


class ReplaySettings(Section):
    """How `hourglass replay` rolls history."""

    step: Duration = Field("1h", description="between two retrainings, and what each is judged on")
    seed: int = Field(0, ge=0, description="of every fit")
    arms: tuple[ArmSettings, ...] = Field(
        (),
        description="default: baselines, neighbours, hrnn, hrnn_trend hourly, offline, no network",
    )

    @field_validator("arms")
    @classmethod
    def _each_arm_once(cls, arms: tuple[ArmSettings, ...]) -> tuple[ArmSettings, ...]:
        names = [arm.name for arm in arms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two arms are called {twice[0]!r}: give one of them another name")
        return arms


class SparkSettings(Section):
    """The Spark session; the same jobs run through spark-submit with another master."""

    master: str = Field("local[*]", description="Spark's master, such as local[4]")
    driver_memory: str = Field("4g", description="memory of the Java process, as Spark writes it")
    shuffle_partitions: int | None = Field(
        None, ge=1, description="default: four a core on one machine, else Spark's own"
    )
    from_mib: int = Field(
        64,
        ge=0,
        description="size in MiB of a step's input files from which on Spark computes it, as it "
        "does from 16,384 rows for each MiB; less is computed without starting it, and so is "
        "ingest of any size where spark.master is local; 0: Spark computes all",
    )


ScenarioName = Literal[
    "missing_field",
    "missing_context",
    "wrong_unit",
    "wrong_time_unit",
    "shifted_clock",
    "fast_clock",
    "doubled_batch",
    "stuck_producer",
    "repeating_producer",
    "bot_flood",
    "silent_drop",
    "new_event_type",
    "real_spike",
    "real_night",
    "late_delivery",
]


class SimulatorSettings(Section):
    """The simulated news site, whose truth is known (``hourglass simulate``)."""

    seed: int = Field(0, ge=0, description="the same seed writes the same logs")
    start: str = Field("2026-01-05T00", description="first hour of the simulated world")
    hours: int = Field(72, ge=1, description="how many, from start")
    users: int = Field(4000, ge=1, description="readers of the site")
    sessions_per_day: float = Field(1.3, gt=0, description="of a user, on average")
    session_events: float = Field(4.5, ge=1, description="of a session, on average")
    binge_share: Fraction = Field(0.1, description="users whose sessions are longer")
    binge_factor: float = Field(3.0, ge=1, description="how much longer")
    items_per_day: int = Field(150, ge=1, description="new articles")
    item_peak_h: float = Field(4.0, gt=0, description="median age at the height of attention")
    topics: int = Field(8, ge=1, description="of the articles")
    taste_dims: int = Field(8, ge=2, description="length of the vectors of tastes and articles")
    taste_strength: float = Field(2.0, ge=0, description="weight of a user's taste in a choice")
    session_strength: float = Field(2.0, ge=0, description="weight of the session's topic")
    exposure_strength: float = Field(0.8, ge=0, description="choice falls as rank ** -this")
    popularity_feedback: float = Field(1.0, ge=0, description="how clicks lift the front page")
    related_share: Fraction = Field(0.4, description="clicks that follow the running story")
    dwell_shape: float = Field(1.5, gt=0, description="of the gamma law of reading times")
    dwell_scale_s: float = Field(60.0, gt=0, le=300, description="its scale")
    late_rate: Fraction = Field(0.02, description="records that arrive hours late")
    late_max_h: int = Field(6, ge=1, description="at most this late")
    duplicate_rate: Fraction = Field(0.01, description="records that are written twice")
    malformed_rate: Fraction = Field(0.005, description="records that are damaged")
    robot_rate: Fraction = Field(0.02, description="share of the clicks that robots make")
    robots: int = Field(2, ge=1, description="how many they are")
    files_per_hour: int = Field(1, ge=1, le=99, description="files among which an hour is dealt")
    scenario: ScenarioName | None = Field(None, description="what goes wrong, or only seems to")
    scenario_from: str | None = Field(None, description="its first hour, like 2026-01-20T12")
    scenario_hours: int = Field(6, ge=1, description="how long it lasts")


def _default_models() -> tuple[ModelSettings, ...]:
    names = ("pop", "recent_pop", "p_pop", "item_knn", "vsknn", "hrnn", "hrnn_trend")
    return tuple(ModelSettings(system=name) for name in names)


class _Environment(PydanticBaseSettingsSource):
    """The variables of this process."""

    def __call__(self) -> dict[str, Any]:
        return environment_values(self.settings_cls, os.environ)

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401, ARG002 - the signature is pydantic's
        return None, field_name, False  # all fields are read at once


class Settings(BaseSettings):
    """Everything a command may be told; each section is documented by its own class."""

    model_config = SettingsConfigDict(
        env_prefix="HOURGLASS_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    site: str = Field(
        "", description="what pages call this site; default: the name of its work or source folder"
    )
    work: LocalPath = Field(Path("work"), description="folder of all that commands write")
    catalog_uri: str | None = Field(
        None, description="address of the table catalog; null: SQLite in the work folder"
    )
    warehouse: LocalFolder | None = Field(
        None, description="folder of the table files; null: lake in the work folder"
    )
    mlflow_uri: str | None = Field(
        None, description="address of MLflow: a server or a store; null: SQLite in the work folder"
    )
    registered_model: str = Field("hourglass", description="its name in MLflow's registry")
    source: SourceSettings = SourceSettings()
    ingest: IngestSettings = IngestSettings()
    sessions: SessionSettings = SessionSettings()
    dataset: DatasetSettings = DatasetSettings()
    models: tuple[ModelSettings, ...] = Field(
        default_factory=_default_models, description="what is trained and compared, an entry each"
    )
    candidate: str | tuple[str, ...] = Field(
        "hrnn_trend", description="the models that may go live, by name; the gate judges each"
    )
    monitor: MonitorSettings = MonitorSettings()
    retrain: RetrainSettings = RetrainSettings()
    replay: ReplaySettings = ReplaySettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    gate: GateSettings = GateSettings()
    quality: QualitySettings = QualitySettings()
    recommend: RecommendSettings = RecommendSettings()
    maintain: MaintainSettings = MaintainSettings()
    spark: SparkSettings = SparkSettings()
    simulator: SimulatorSettings = SimulatorSettings()

    @field_validator("models")
    @classmethod
    def _each_name_once(cls, models: tuple[ModelSettings, ...]) -> tuple[ModelSettings, ...]:
        names = [model.name for model in models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two models are called {twice[0]!r}: give one of them another name")
        return models

    @field_validator("candidate")
    @classmethod
    def _each_candidate_once(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        names = (value,) if isinstance(value, str) else value
        if not names or "" in names or len(set(names)) < len(names):
            raise ValueError("name at least one model, each once")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, which arrives as initial values."""
        return _Environment(settings_cls), init_settings

    @model_validator(mode="after")
    def _passive_types_occur(self) -> Self:
        passive, types = self.sessions.passive_types, self.source.event_types
        for name in passive:
            if types and name not in types:
                raise ValueError(
                    f"sessions.passive_types: {name!r} is none of source.event_types "
                    f"({', '.join(types)})"
                )
        has_own_types = self.source.name not in _ANY_FORMAT - {"access_log"}
        has_types = has_own_types or self.source.columns.event_type is not None
        every = self.source.default_event_type
        if every in passive and not has_types:
            raise ValueError(
                f"sessions.passive_types: all events are of the type {every!r} "
                "(source.default_event_type), so there would be no session"
            )
        return self

    @property
    def candidates(self) -> tuple[str, ...]:
        """Names of the models that may go live."""
        return (self.candidate,) if isinstance(self.candidate, str) else self.candidate

    @property
    def site_name(self) -> str:
        """What people call the site whose logs these are.

        Without `site`: the work folder's name or the source folder's, unless they are called as
        most are; then that of a log which is known by its own format, or of the folder that holds
        the work folder.
        """
        work, source = self.work.absolute(), self.source.path.absolute()
        of_folders = [
            name for name in (work.name, source.stem) if name.lower() not in _ANY_FOLDER | {""}
        ]
        of_format = [] if self.source.name in _ANY_FORMAT else [self.source.name]
        names = [self.site, *of_folders, *of_format, work.parent.name, self.source.name]
        return next(name for name in names if name)

    @property
    def resolved_warehouse(self) -> Path:
        """Folder of the table files."""
        return Path(self.warehouse) if self.warehouse else self.work.absolute() / "lake"

    @property
    def resolved_catalog_uri(self) -> str:
        """SQLAlchemy address of the table catalog."""
        return self.catalog_uri or sqlite_address(self.work.absolute() / "lake" / "catalog.db")

    @property
    def resolved_mlflow_uri(self) -> str:
        """Address of MLflow's tracking store and registry."""
        return self.mlflow_uri or sqlite_address(self.work.absolute() / "mlflow.db")

    def path(self, name: str) -> Path:
        """A folder of the work folder: ``shards``, ``models``, ``decisions``, ``reports`` ..."""
        return self.work.absolute() / name

    def digest(self, *sections: str) -> str:
        """Short hash of the named sections, recorded with whatever they shaped."""
        parts = []
        for name in sections:
            section = getattr(self, name)
            parts.append(f"{name}={section.model_dump_json(exclude=keys_as_before(section))}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def load_settings(path: Path | None, overrides: dict[str, Any] | None = None) -> Settings:
    """Read the YAML file (none: all defaults), then the overrides of the command line.

    Raises:
        UsageError: the file is missing or not YAML, or a key is unknown or has a wrong value.
    """
    remember_secret_variables(os.environ)
    content: Any = {}
    name = "settings" if path is None else str(path)
    if path is not None:
        try:
            content = read_yaml(path.read_text(encoding="utf-8"), str(path)) or {}
        except OSError as error:
            raise UsageError(f"{path}: cannot read the settings: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{path}: not a YAML file: {error.reason}") from error
        if not isinstance(content, dict):
            raise UsageError(f"{path}: the settings must be a mapping of sections")
        content = with_present_names(content, name)
    remember_secrets(content)
    try:
        return Settings(**merge(content, with_present_names(overrides or {}, "command line")))
    except ValidationError as error:
        # A misspelt key often is why another one is missing.
        wrong = error.errors()
        first = next((each for each in wrong if each["type"] == "extra_forbidden"), wrong[0])
        where = ".".join(str(key_part) for key_part in first["loc"])
        name = variable_of(first["loc"], os.environ) or name
        if first["type"] == "extra_forbidden":
            keys = _keys(Settings, first["loc"][:-1])
            hint = suggest(str(first["loc"][-1]), keys)
            rest = "all keys stand in pipeline/settings/"
            if keys and not hint:
                rest = f"there are {', '.join(keys)}"
            raise UsageError(f"{name}: unknown key {where!r}{hint}: {rest}") from error
        message = first["msg"].removeprefix("Value error, ")
        # Of keys of a section that do not go together, the message names them.
        is_value = first["type"] != "value_error" or not isinstance(first["input"], dict)
        what = [f"{where} = {first['input']!r}" if is_value else where]
        raise UsageError(": ".join(filter(None, [name, *what, message]))) from error


def _keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The keys of a section; none where what lies there is no section."""
    if not path:
        return list(model.model_fields)
    field = model.model_fields.get(str(path[0]))
    kind = None if field is None else field.annotation
    rest = path[1:]
    if get_origin(kind) is tuple and rest:
        kind, rest = get_args(kind)[0], rest[1:]
    return _keys(kind, rest) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping over another; neither argument changes."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged
