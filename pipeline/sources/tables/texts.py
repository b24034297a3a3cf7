"""Columns of any type become columns of text, by the rules of JSON lines.

A value's text is what JSON would have for it: ``true``, ``12``, ``1.5``.  Where there is nothing
(null, or no number), it is "".  A whole number is written as one whatever type its column has, so
that a column of ids in which some are missing (1.0, NaN) has the ids of the other files (1).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from decimal import Decimal
from math import isnan
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Bools, Ints
from pipeline.hours import DAY_H, US_PER_HOUR, US_PER_S
from pipeline.sources.times import utc_of_local_us

#: What JSON holds.
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_EPOCH = datetime(1970, 1, 1)
_MOST_EXACT = 2.0**53
_FIRST_US = -62_135_596_800 * US_PER_S  # the year 1
_STOP_US = 253_402_300_800 * US_PER_S  # the year 10000
_US_PER_DAY = DAY_H * US_PER_HOUR
# How many microseconds are one of the unit; of a nanosecond, how many are one of them.
_UNIT_US = {"s": US_PER_S, "ms": 1000, "us": 1}
_NS_PER_US = 1000


class TextColumn(NamedTuple):
    """``texts`` has no nulls; ``is_bad`` says where bytes are no UTF-8, if they are so anywhere."""

    texts: pa.Array
    is_bad: Bools | None = None


def text_column(values: pa.Array) -> TextColumn | None:  # noqa: PLR0911 - a case for each kind
    """The texts of a column; None where its type has no text: a list, a struct, a map."""
    kind = values.type
    types = pa.types
    if isinstance(values, pa.ExtensionArray):
        if kind.extension_name == "arrow.uuid":
            return _by_value(values)
        return text_column(values.storage)
    if types.is_dictionary(kind):
        return text_column(values.dictionary_decode())
    if types.is_null(kind):
        return TextColumn(pa.array([""] * len(values), pa.string()))
    if types.is_boolean(kind) or types.is_integer(kind):
        return TextColumn(pc.fill_null(values.cast(pa.string()), ""))
    if types.is_floating(kind):
        return TextColumn(_of_floats(values.cast(pa.float64())))
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return _of_bytes(values)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return _of_bytes(values)
    if types.is_fixed_size_binary(kind):
        return _of_bytes(values.cast(pa.binary()))
    if types.is_timestamp(kind) or types.is_date(kind):
        return TextColumn(pa.array(_iso_texts(values), pa.string()))
    if types.is_decimal(kind) or types.is_time(kind):
        return _by_value(values)
    return None


def is_fraction(kind: pa.DataType) -> bool:
    """Whether values are numbers that may have a fraction, of which JSON writes the digits."""
    return bool(pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_time(kind: pa.DataType) -> bool:
    """Whether the values of a type are instants, or days."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def microseconds(values: pa.Array, zone: str | None = None) -> pa.Array:
    """Microseconds since 1970 (int64) of timestamps or dates.

    A time without a zone is of ``zone``, where there is one, else UTC; a date is its midnight.

    Digits below the microsecond are cut off.  A time outside the years 1 to 9999 is the nearest
    one that is outside too, and fits.
    """
    kind = values.type
    if pa.types.is_date32(kind):
        counts, unit_us = values.cast(pa.int32()).cast(pa.int64()), _US_PER_DAY
    elif pa.types.is_date64(kind):
        counts, unit_us = values.cast(pa.int64()), _UNIT_US["ms"]
    else:
        counts, unit_us = values.cast(pa.int64()), _UNIT_US.get(kind.unit, 0)
    is_null = np.asarray(values.is_null())
    counts_now: Ints = counts.fill_null(0).to_numpy()
    if not unit_us:
        times_us = counts_now // _NS_PER_US
    else:
        first, stop = _FIRST_US // unit_us - 1, _STOP_US // unit_us
        times_us = np.clip(counts_now, first, stop) * unit_us
    if pa.types.is_date(kind) or kind.tz is None:
        times_us = utc_of_local_us(times_us, zone)
    return pa.array(times_us, pa.int64(), mask=is_null)


def plain_value(value: pa.Array) -> Json:
    """What JSON would have for the only value of an array, and for all that is in it."""
    kind, types = value.type, pa.types
    if value.null_count or types.is_null(kind):
        return None
    if types.is_map(kind):
        pair = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        entries = pc.list_flatten(value.cast(pa.list_(pair)))
        keys, items = (pc.struct_field(entries, [at]) for at in (0, 1))
        return {str(key): item for key, item in zip(_each(keys), _each(items), strict=True)}
    if types.is_struct(kind):
        fields = {field.name: pc.struct_field(value, [at]) for at, field in enumerate(kind)}
        return {name: plain_value(field) for name, field in fields.items()}
    if is_list(kind):
        return list(_each(pc.list_flatten(value)))
    column = text_column(value)
    return str(value[0]) if column is None else _plain(column.texts[0].as_py(), kind)


def _each(values: pa.Array) -> Iterator[Json]:
    return (plain_value(values.slice(at, 1)) for at in range(len(values)))


def _plain(text: str, kind: pa.DataType) -> Json:
    """The value of JSON that a text stands for; infinity, which JSON has not, stays a text."""
    if pa.types.is_boolean(kind):
        return text == "true"
    if pa.types.is_integer(kind):
        return int(text)
    if not pa.types.is_floating(kind) or text.endswith("inf"):
        return text
    if not text:
        return None
    return int(text) if text.lstrip("-").isdigit() else float(text)


def is_list(kind: pa.DataType) -> bool:
    """Whether the values of a type are lists, of any of Arrow's kinds."""
    types = pa.types
    plain = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(plain or types.is_list_view(kind) or types.is_large_list_view(kind))


def _of_floats(values: pa.Array) -> pa.Array:
    numbers = values.fill_null(np.nan).to_numpy(zero_copy_only=False)
    is_whole = (np.abs(numbers) <= _MOST_EXACT) & (np.rint(numbers) == numbers)
    whole = np.where(is_whole, numbers, 0).astype(np.int64)
    texts = pa.array(whole).cast(pa.string())
    if is_whole.all():
        return texts
    others = ["" if isnan(number) else repr(number) for number in numbers[~is_whole].tolist()]
    return _replaced(texts, ~is_whole, pa.array(others, pa.string()))


def _replaced(texts: pa.Array, where: Bools, others: pa.Array) -> pa.Array:
    return pc.replace_with_mask(texts, pa.array(where), others)


def _of_bytes(values: pa.Array) -> TextColumn:
    """Texts of bytes in UTF-8, of which nobody has checked that they are."""
    raw = values.cast(pa.large_binary())
    try:
        return TextColumn(pc.fill_null(raw.cast(pa.large_string()).cast(pa.string()), ""))
    except pa.ArrowInvalid:
        pass
    texts, is_bad = [], np.zeros(len(values), np.bool_)
    for at, content in enumerate(raw.to_pylist()):
        try:
            texts.append("" if content is None else content.decode())
        except UnicodeDecodeError:
            texts.append(content.decode("utf-8", "backslashreplace"))
            is_bad[at] = True
    return TextColumn(pa.array(texts, pa.string()), is_bad)


def _iso_texts(values: pa.Array) -> Iterator[str]:
    is_date = pa.types.is_date(values.type)
    has_zone = not is_date and values.type.tz is not None
    for time_us in microseconds(values).to_pylist():
        text = "" if time_us is None else iso_text(time_us)
        yield text.partition("T")[0] if is_date else f"{text}Z" if has_zone and text else text


def iso_text(time_us: int, zone: str = "") -> str:
    """An instant in ISO 8601 and its zone; outside the years 1 to 9999 the number that it is."""
    if not _FIRST_US <= time_us < _STOP_US:
        return str(time_us)
    return f"{(_EPOCH + timedelta(microseconds=time_us)).isoformat()}{zone}"


def _by_value(values: pa.Array) -> TextColumn:
    texts = ["" if value is None else _text_of(value) for value in values.to_pylist()]
    return TextColumn(pa.array(texts, pa.string()))


def _text_of(value: object) -> str:
    if isinstance(value, Decimal):
        text = format(value, "f")
        # As of any number: 12.00 is 12.
        return text.rstrip("0").rstrip(".") if "." in text else text
    return value.isoformat() if isinstance(value, time) else str(value)
