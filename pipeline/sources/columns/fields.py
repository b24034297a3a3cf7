"""From columns of texts to columns of events: times, numbers, identities.

Each function answers with its values and with which of them are certain; what the rest become is
for :mod:`pipeline.sources.fields` to say, which is what these do for one record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.array_types import Bools, Ints
from pipeline.hours import US_PER_HOUR, Hour
from pipeline.settings.field_types import TimeUnit
from pipeline.sources.columns.types import EventColumns, TextColumns
from pipeline.sources.field_rules import FieldRules
from pipeline.sources.ignoring import TestText, tests_of
from pipeline.sources.times import FIRST_US, MOST_DIGITS, PLACES, STOP_US

MakeEvents = Callable[[TextColumns], EventColumns]

# As many digits as keep a time far from the bounds of 64 bits.
_DIGITS = {"s": 12, "ms": 15, "us": 18}
_FRACTION = r"^(?P<whole>[0-9]{1,%d})\.(?P<fraction>[0-9]+)$"
_PLAIN_NUMBER = r"^-?[0-9]{1,15}(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,2})?$"
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_CLOCK = (
    r"^(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{3}|\.[0-9]{6})?"
)
_UTC = "UTC"
_FEW = 64
_US = pa.timestamp("us")
_US_UTC = pa.timestamp("us", _UTC)
_ASCII_STOP = 0x80
_TRIMMED = ("user_id", "item_id", "event_type", "value", "event_key", "given_session")
Bytes = NDArray[np.uint8]


def event_maker(
    unit: TimeUnit,
    epoch: Hour,
    default_event_type: str,
    event_types: tuple[str, ...],
    rules: FieldRules,
) -> MakeEvents | None:
    """A function that makes events of texts, of the rows that are certain to be events.

    None where times are written in a way that only the line parser reads.
    """
    if rules.time_formats or (unit != "iso8601" and unit not in _DIGITS):
        return None
    allowed = pa.array(sorted(set(event_types)), pa.string())
    nothing = pa.array(sorted({"", *rules.nothing}), pa.string())
    is_utc = rules.timezone in (None, "UTC", "Etc/UTC")
    no_times_us = [int(text) for text in rules.nothing if _WHOLE.fullmatch(text)]
    numeric = ["value"] if unit == "iso8601" else ["value", "event_time"]
    tests_by_rule = [tests_of(rule, rules, default_event_type) for rule in rules.ignore]

    def make(texts: TextColumns) -> EventColumns:
        n = len(texts.line)
        fields, context = dict(texts.fields), texts.context
        is_sure = ~_is_ignored(texts, tests_by_rule)
        for name in _TRIMMED if rules.trim or rules.nothing else ():
            if name in fields:
                is_sure &= is_trimmed(fields[name])
        if rules.nothing:
            for column in context.values():
                is_sure &= is_trimmed(column)
            fields = {
                name: column if pa.types.is_integer(column.type) else _without(column, nothing)
                for name, column in fields.items()
            }
            context = {name: _without(column, nothing) for name, column in context.items()}
        for name in numeric if rules.decimal != "." else ():
            if name in fields:
                fields[name], is_pointless = _with_point(fields[name])
                is_sure &= is_pointless
        is_sure &= _names_somebody(fields["user_id"]) & _names_somebody(fields["item_id"])
        time_us, is_time = event_times(fields["event_time"], unit, epoch, is_utc)
        is_sure &= is_time
        if no_times_us:
            is_sure &= ~np.isin(time_us, no_times_us)
        value, is_number = _values(fields.get("value"), n)
        is_sure &= is_number
        event_type = _event_types(fields.get("event_type"), default_event_type, n)
        if len(allowed):
            is_sure &= _bools(pc.is_in(event_type, value_set=allowed))
        columns = EventColumns(
            texts.line,
            time_us,
            fields["user_id"],
            fields["item_id"],
            event_type,
            value,
            _or_null(fields.get("given_session"), n),
            _or_null(fields.get("event_key"), n),
            context_maps(context, n),
        )
        return columns if is_sure.all() else rows_of(columns, is_sure)

    return make


def _is_ignored(
    texts: TextColumns, tests_by_rule: Sequence[Sequence[tuple[str | None, TestText]]]
) -> Bools:
    """Which rows a rule leaves out, (n,); each distinct text is asked about once."""
    is_ignored = np.zeros(len(texts.line), bool)
    for tests in tests_by_rule:
        fits = np.ones(len(texts.line), bool)
        for name, test in tests:
            column = texts.fields.get("event_type") if name is None else texts.columns[name]
            if column is None:
                fits &= test("")
                continue
            packed = column.dictionary_encode()
            answers = np.array([test(text) for text in packed.dictionary.to_pylist()], bool)
            fits &= answers[packed.indices.to_numpy()]
        is_ignored |= fits
    return is_ignored


def _without(texts: pa.Array, nothing: pa.Array) -> pa.Array:
    """The texts, "" in the place of those that mean nothing."""
    return pc.if_else(pc.is_in(texts, value_set=nothing), "", texts)


def _with_point(texts: pa.Array) -> tuple[pa.Array, Bools]:
    """Numbers whose fractions follow a comma as those with a point; and which have had none."""
    return pc.replace_substring(texts, ",", "."), ~_bools(pc.match_substring(texts, "."))


def is_trimmed(texts: pa.Array) -> Bools:
    """Which texts have no white space around them, (n,)."""
    start, stop, content = _bytes_of(texts)
    is_filled = stop > start
    is_plain = ~is_filled
    if len(content):
        first = content[np.where(is_filled, start, 0)]
        last = content[np.where(is_filled, stop - 1, 0)]
        is_plain |= (first > ord(" ")) & (last > ord(" "))
        is_ascii = (first < _ASCII_STOP) & (last < _ASCII_STOP)
        rows = np.flatnonzero(is_filled & is_plain & ~is_ascii)
        chosen = texts.take(pa.array(rows)).to_pylist()
        is_plain[rows] = [text == text.strip() for text in chosen]
    return is_plain


def _bytes_of(texts: pa.Array) -> tuple[Ints, Ints, Bytes]:
    """Where each text begins and ends, (n,) both, and the bytes of all."""
    _, offsets, content = texts.buffers()
    n = len(texts)
    at = np.frombuffer(offsets, np.int32, n + 1, texts.offset * 4).astype(np.int64)
    return at[:-1], at[1:], np.frombuffer(content or b"", np.uint8)


def rows_of(columns: EventColumns, wanted: Bools) -> EventColumns:
    """Those rows alone."""
    mask = pa.array(wanted)
    return EventColumns(
        *(
            column[wanted] if isinstance(column, np.ndarray) else column.filter(mask)
            for column in columns
        )
    )


def event_times(
    texts: pa.Array, unit: TimeUnit, epoch: Hour, is_utc: bool = True
) -> tuple[Ints, Bools]:
    """Microseconds since 1970 of each text, (n,), and which of them are certain, (n,).

    Integers are such microseconds already.  Where times without a zone are not of UTC, none of
    them is certain.
    """
    if pa.types.is_integer(texts.type):
        time_us = texts.fill_null(STOP_US).to_numpy()
        return time_us, (time_us >= FIRST_US) & (time_us < STOP_US)
    if unit == "iso8601":
        return _iso8601_times(texts, is_utc)
    places = PLACES[unit]
    digits = _DIGITS[unit]
    length = pc.binary_length(texts).to_numpy()
    is_whole = _bools(pc.ascii_is_decimal(texts)) & (length <= digits)
    whole = pc.if_else(pa.array(is_whole), texts, "0").cast(pa.int64()).to_numpy()
    time_us = whole * 10**places
    is_sure = is_whole
    if not is_whole.all():
        parts = pc.extract_regex(texts, _FRACTION % digits)
        is_fraction = _bools(pc.is_valid(parts)) & (length <= MOST_DIGITS)
        if is_fraction.any():
            is_sure = is_whole | is_fraction
            time_us = np.where(is_fraction, _fraction_us(parts, is_fraction, places), time_us)
    time_us = time_us + epoch.index * US_PER_HOUR
    return time_us, is_sure & (time_us >= FIRST_US) & (time_us < STOP_US)


def _fraction_us(parts: pa.StructArray, is_fraction: Bools, places: int) -> Ints:
    """Microseconds of numbers that have a fraction, digits below the microsecond cut off, (n,)."""
    mask = pa.array(is_fraction)
    whole = pc.if_else(mask, pc.struct_field(parts, "whole"), "0").cast(pa.int64()).to_numpy()
    time_us: Ints = whole * 10**places
    if places:
        digits = pc.if_else(mask, pc.struct_field(parts, "fraction"), "0")
        cut = pc.utf8_slice_codeunits(pc.utf8_rpad(digits, places, "0"), 0, places)
        time_us = time_us + cut.cast(pa.int64()).to_numpy()
    return time_us


def _iso8601_times(texts: pa.Array, is_utc: bool) -> tuple[Ints, Bools]:
    time_us = np.zeros(len(texts), np.int64)
    is_sure = np.zeros(len(texts), bool)
    # With an offset, with the name of the zone as BigQuery exports it, and with neither.
    for pattern, kind, ending in (
        (_CLOCK + r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$", _US_UTC, ""),
        (_CLOCK + "$", _US, ""),
        (_CLOCK + " UTC$", _US, " UTC"),
    ):
        if is_sure.all():
            break
        if kind is _US and not ending and not is_utc:
            continue
        (rows,) = np.nonzero(_bools(pc.match_substring_regex(texts, pattern)) & ~is_sure)
        if not len(rows):
            continue
        chosen = texts if len(rows) == len(texts) else texts.take(pa.array(rows))
        if ending:
            chosen = pc.utf8_slice_codeunits(chosen, 0, -len(ending))
        instants = _instants(chosen, kind)
        time_us[rows] = instants.cast(pa.int64()).fill_null(0).to_numpy()
        is_sure[rows] = _bools(pc.is_valid(instants))
    return time_us, is_sure & (time_us >= FIRST_US) & (time_us < STOP_US)


def _instants(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """The instants of texts, null where one is none: a 30th of February spoils no other day."""
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        if len(texts) <= _FEW:
            return pa.nulls(len(texts), kind)
        middle = len(texts) // 2
        halves = texts.slice(0, middle), texts.slice(middle)
        return pa.concat_arrays([_instants(half, kind) for half in halves])


def _values(texts: pa.Array | None, n: int) -> tuple[pa.Array, Bools]:
    """Numbers, null where the text is empty, and which are certain, (n,) both."""
    if texts is None:
        return pa.nulls(n, pa.float64()), np.ones(n, bool)
    is_number = pc.match_substring_regex(texts, _PLAIN_NUMBER)
    numbers = pc.if_else(is_number, texts, None).cast(pa.float64())
    return numbers, _bools(is_number) | _bools(pc.equal(texts, ""))


def _event_types(texts: pa.Array | None, default: str, n: int) -> pa.Array:
    if texts is None:
        return pa.repeat(pa.scalar(default, pa.string()), n)
    return pc.if_else(pc.equal(texts, ""), default, texts)


def _or_null(texts: pa.Array | None, n: int) -> pa.Array:
    if texts is None:
        return pa.nulls(n, pa.string())
    return pc.if_else(pc.equal(texts, ""), None, texts)


def _names_somebody(texts: pa.Array) -> Bools:
    """Which texts hold more than white space, (n,)."""
    start, stop, content = _bytes_of(texts)
    is_filled: Bools = stop > start
    if not len(content):
        return is_filled
    first = content[np.where(is_filled, start, 0)]
    is_plain = is_filled & (first > ord(" ")) & (first < _ASCII_STOP)
    rows = np.flatnonzero(is_filled & ~is_plain)
    is_plain[rows] = [not text.isspace() for text in texts.take(pa.array(rows)).to_pylist()]
    return is_plain


def context_maps(context: dict[str, pa.Array], n: int) -> pa.Array:
    """Maps of the texts that are not empty, by the name of their field, (n,)."""
    names = sorted(context)
    if not names:
        return pa.MapArray.from_arrays(
            pa.array(np.zeros(n + 1, np.int32)),
            pa.array([], pa.string()),
            pa.array([], pa.string()),
        )
    columns = [context[name] for name in names]
    is_filled = np.stack([_bools(pc.not_equal(column, "")) for column in columns], axis=1)  # (n, k)
    offsets = np.concatenate([[0], np.cumsum(is_filled.sum(axis=1))]).astype(np.int32)
    row, field = np.nonzero(is_filled)
    keys = pa.array(names, pa.string()).take(pa.array(field))
    texts = pa.concat_arrays(columns).take(pa.array(field * n + row))
    return pa.MapArray.from_arrays(pa.array(offsets), keys, texts)


def _bools(flags: pa.Array) -> Bools:
    values: Bools = flags.to_numpy(zero_copy_only=False)
    return values
