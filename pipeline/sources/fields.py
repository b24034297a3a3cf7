"""From the texts of a record's fields to an event: numbers, identities, and what is no value."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Context
from typing import Any

from pipeline.settings.field_types import TimeUnit
from pipeline.settings.source import ColumnSettings
from pipeline.sources.base import ParsedEvent, Refusal
from pipeline.sources.field_rules import NO_RULES, FieldRules
from pipeline.sources.times import (
    NO_TIME,
    NUMBER,
    UNIX_EPOCH,
    ReadTime,
    in_range,
    instant_us,
    read_iso8601,
    time_reader,
)

__all__ = [
    "FIELD_ORDER",
    "UNIX_EPOCH",
    "BuildEvent",
    "ReadTime",
    "TimeUnit",
    "event_builder",
    "fields_read",
    "instant_us",
    "is_storable",
    "number_text",
    "plain_fields",
    "read_iso8601",
    "read_number",
    "time_reader",
]

NO_USER = Refusal("no user_id")
NO_ITEM = Refusal("no item_id")
BAD_VALUE = Refusal("value is not a finite number")
UNKNOWN_TYPE = Refusal("event_type is not one of the known types")

# Beyond this a number is no identity that anybody writes in digits.
_MOST_ID_DIGITS = 40
_EXACT = Context(prec=_MOST_ID_DIGITS)


def read_number(text: str) -> float | None:
    """The finite number that a text writes in plain ASCII, or None."""
    text = text.strip()
    if not NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _read_comma_number(text: str) -> float | None:
    """The same of a text whose fraction follows a comma; a point may mean anything there."""
    return None if "." in text else read_number(text.replace(",", "."))


def number_text(text: str) -> str:
    """A number of JSON as an identity: ``7.0`` and ``0.7e1`` are ``7``, ``1.50`` is ``1.5``.

    Exact whatever its size; one that takes more than 40 digits stays as it is written.
    """
    if len(text) > _MOST_ID_DIGITS:
        return text
    number = _EXACT.create_decimal(text).normalize(_EXACT)
    if not number:
        return "0"
    return text if abs(number.adjusted()) > _MOST_ID_DIGITS else f"{number:f}"


def is_storable(text: str) -> bool:
    """Whether UTF-8 can hold the text (no half of a surrogate pair) and it has no NUL."""
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


BuildEvent = Callable[[Sequence[str], dict[str, str]], ParsedEvent | Refusal]

# The order in which an event's texts are handed to the function that builds it.
FIELD_ORDER = (
    "event_time",
    "user_id",
    "item_id",
    "event_type",
    "value",
    "event_key",
    "given_session",
)
_NO_FALLBACKS = ColumnSettings()
_FALLBACKS = ("event_time_fallback", "user_fallback", "sent_time", "received_time")
#: Fields whose bad values may cost themselves alone; a type, a key or an id says what happened.
DROPPABLE = frozenset({"value", "given_session", *_FALLBACKS})


def fields_read(columns: ColumnSettings) -> list[tuple[str, str | None]]:
    """The fields whose texts :func:`event_builder` takes, in its order, and their columns.

    They are :data:`FIELD_ORDER`; where a key has several columns or anything has a fallback, the
    fallbacks and clocks follow, and then the other columns of the key.
    """
    first_key, *other_keys = columns.key_columns or (None,)
    own = [
        (field, first_key if field == "event_key" else getattr(columns, field))
        for field in FIELD_ORDER
    ]
    fallbacks = [(field, getattr(columns, field)) for field in _FALLBACKS]
    if not other_keys and not any(column for _, column in fallbacks):
        return own
    return [*own, *fallbacks, *(("event_key", column) for column in other_keys)]


def plain_fields(columns: ColumnSettings) -> dict[str, str] | None:
    """The fields that a log has and their columns; None where one has a fallback or several."""
    fields = fields_read(columns)
    if len(fields) > len(FIELD_ORDER):
        return None
    return {field: column for field, column in fields if column is not None}


def event_builder(
    read_time: ReadTime,
    default_event_type: str,
    event_types: tuple[str, ...],
    rules: FieldRules = NO_RULES,
    columns: ColumnSettings = _NO_FALLBACKS,
) -> BuildEvent:
    """A function from the texts of one record, "" where absent, and its context to its event.

    The texts come in the order of :func:`fields_read`, that of :data:`FIELD_ORDER` where columns
    have neither fallbacks nor a key of several.  The event keeps the context it is given.
    """
    if not rules.nothing and len(fields_read(columns)) == len(FIELD_ORDER):
        return _plain_builder(read_time, default_event_type, event_types, rules)
    build = _plain_builder(_is_read, default_event_type, event_types, rules)
    nothing = frozenset(rules.nothing)
    resolve_time = _time_resolver(read_time, rules.drops)
    n_keys = len(columns.key_columns)

    def build_resolved(texts: Sequence[str], context: dict[str, str]) -> ParsedEvent | Refusal:
        if nothing:
            texts = ["" if text.strip() in nothing else text for text in texts]
            context = {name: text for name, text in context.items() if text.strip() not in nothing}
        own = list(texts[: len(FIELD_ORDER)])
        fallback, user_fallback, sent, received, *other_keys = texts[len(FIELD_ORDER) :] or (
            "",
        ) * len(_FALLBACKS)
        dropped: list[str] = []
        if not own[1].strip():
            own[1] = user_fallback
        if n_keys > 1:
            own[5] = _joined([own[5], *other_keys], rules.trim)
        time_us = resolve_time((own[0], fallback, sent, received), dropped)
        event = build((time_us, *own[1:]), context)
        if dropped and isinstance(event, ParsedEvent):
            return event._replace(dropped=(*dropped, *event.dropped))
        return event

    return build_resolved


def _plain_builder(
    read_time: Callable[[Any], int | Refusal],
    default_event_type: str,
    event_types: tuple[str, ...],
    rules: FieldRules,
) -> Callable[[Sequence[Any], dict[str, str]], ParsedEvent | Refusal]:
    allowed = frozenset(event_types)
    trim, drops = rules.trim, rules.drops
    number_of = read_number if rules.decimal == "." else _read_comma_number

    def build(  # noqa: PLR0911 - a return for each fault
        texts: Sequence[Any], context: dict[str, str]
    ) -> ParsedEvent | Refusal:
        event_time, user_id, item_id, event_type, value, event_key, given_session = texts
        if trim:
            user_id = user_id.strip()
            item_id = item_id.strip()
            event_type = event_type and event_type.strip()
            event_key = event_key and event_key.strip()
            given_session = given_session and given_session.strip()
        elif user_id.isspace():
            return NO_USER
        elif item_id.isspace():
            return NO_ITEM if user_id else NO_USER
        if not user_id:
            return NO_USER
        if not item_id:
            return NO_ITEM
        time_us = read_time(event_time)
        if isinstance(time_us, Refusal):
            return time_us
        number = None
        dropped: tuple[str, ...] = ()
        if value:
            number = number_of(value)
            if number is None and not value.isspace():
                if not drops:
                    return BAD_VALUE
                dropped = (BAD_VALUE.reason,)
        kind = event_type or default_event_type
        if allowed and kind not in allowed:
            return UNKNOWN_TYPE._replace(event_type=kind)
        return ParsedEvent(
            time_us,
            user_id,
            item_id,
            kind,
            number,
            given_session or None,
            context,
            event_key or None,
            dropped,
        )

    return build


def _is_read(time_us: int | Refusal) -> int | Refusal:
    return time_us


def _time_resolver(
    read_time: ReadTime, drops: bool
) -> Callable[[Sequence[str], list[str]], int | Refusal]:
    """A function from the four texts of times to the event's; it adds to what was dropped."""

    def corrected(time_us: int, sent: str, received: str, dropped: list[str]) -> int | Refusal:
        clocks = [
            _of_field(read_time(sent), "sent_time"),
            _of_field(read_time(received), "received_time"),
        ]
        bad = [clock for clock in clocks if isinstance(clock, Refusal)]
        if bad:
            dropped += [clock.reason for clock in bad]
            return time_us if drops else bad[0]
        sent_us, received_us = (clock for clock in clocks if isinstance(clock, int))
        return in_range(time_us + received_us - sent_us)

    def resolve(texts: Sequence[str], dropped: list[str]) -> int | Refusal:
        event_time, fallback, sent, received = texts
        time_us = read_time(event_time)
        if isinstance(time_us, int):
            if not sent.strip() or not received.strip():
                return time_us
            return corrected(time_us, sent, received, dropped)
        if not fallback.strip() or not (drops or time_us == NO_TIME):
            return time_us
        other_us = read_time(fallback)
        if time_us == NO_TIME:
            return _of_field(other_us, "event_time_fallback")
        if isinstance(other_us, int):
            dropped.append(time_us.reason)
            return other_us
        return time_us

    return resolve


def _of_field(time_us: int | Refusal, field: str) -> int | Refusal:
    """A refusal that names the field whose text it is about."""
    if isinstance(time_us, Refusal):
        return Refusal(time_us.reason.replace("event_time", field, 1))
    return time_us


def _joined(texts: Sequence[str], trim: bool) -> str:
    r"""One text of a key's columns, another one for any other texts; "" where one is empty.

    ``a`` and ``b|c`` are ``a|b\|c``, ``a|b`` and ``c`` are ``a\|b|c``.  Half a key is none: all
    records that lack the other half would be one event.
    """
    if trim:
        texts = [text.strip() for text in texts]
    if not all(texts):
        return ""
    return "|".join(text.replace("\\", "\\\\").replace("|", "\\|") for text in texts)
