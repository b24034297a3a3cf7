"""Common Log Format as columns: the line parser's own patterns, on all lines at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.columns.types import LineBlock, TextColumns

_ASCII_STOP = 0x80
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME = (
    r"^(?P<day>[0-9]{2})/(?P<month>" + "|".join(_MONTHS) + r")/(?P<year>[0-9]{4})"
    r":(?P<clock>[0-9]{2}:[0-9]{2}:[0-9]{2})(?: (?P<hours>[+-][0-9]{2})(?P<minutes>[0-9]{2}))?$"
)


class LogColumns:
    """Makes columns of lines that are requests with a method and a URL.

    Args:
        line: pattern of a whole line, with the groups host, time, request, response and bytes.
        request: pattern of a whole request, with the groups method and url.
    """

    def __init__(self, line: str, request: str) -> None:
        self._line, self._request = f"^(?:{line})$", f"^(?:{request})$"

    def __call__(self, block: LineBlock) -> TextColumns:
        """The fields of the lines that match; times as ISO 8601 has them."""
        texts = line_texts(block)
        parts = pc.extract_regex(texts, self._line)
        request = pc.extract_regex(pc.struct_field(parts, "request"), self._request)
        time = iso8601_of(pc.struct_field(parts, "time"))
        is_request = pc.and_(pc.and_(pc.is_valid(parts), pc.is_valid(request)), pc.is_valid(time))
        is_request = pc.and_(is_request, pa.array(_is_plain(block)))
        (line,) = np.nonzero(is_request.to_numpy(zero_copy_only=False))

        def column(values: pa.Array) -> pa.Array:
            return values.filter(is_request)

        def or_empty(name: str) -> pa.Array:
            values = column(pc.struct_field(parts, name))
            return pc.if_else(pc.equal(values, "-"), "", values)

        return TextColumns(
            line,
            {
                "event_time": column(time),
                "user_id": column(pc.struct_field(parts, "host")),
                "item_id": column(pc.struct_field(request, "url")),
                "event_type": column(pc.struct_field(request, "method")),
                "value": or_empty("bytes"),
            },
            {"response": or_empty("response")},
        )


def iso8601_of(times: pa.Array) -> pa.Array:
    """``01/Jul/1995:00:00:01 -0400`` as ``1995-07-01T00:00:01-04:00``; null where it is none."""
    parts = pc.extract_regex(times, _TIME)
    day, month, year, clock, hours, minutes = (
        pc.struct_field(parts, name)
        for name in ("day", "month", "year", "clock", "hours", "minutes")
    )
    numbers = pa.array([f"{nth:02d}" for nth in range(1, len(_MONTHS) + 1)])
    month = numbers.take(pc.index_in(month, value_set=pa.array(_MONTHS)))
    date = pc.binary_join_element_wise(year, month, day, "-")
    minutes = pc.if_else(pc.equal(hours, ""), "", pc.binary_join_element_wise(":", minutes, ""))
    return pc.binary_join_element_wise(date, "T", clock, hours, minutes, "")


def line_texts(block: LineBlock) -> pa.Array:
    """The lines of a block as texts, (L,)."""
    buffer = np.frombuffer(block.content, np.uint8)
    content = np.delete(buffer, block.stop).tobytes()
    sizes = block.stop - block.start
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(sizes), [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(content)]
    )


def _is_plain(block: LineBlock) -> np.ndarray:
    """Which lines are ASCII without control characters, so that all patterns mean the same."""
    buffer = np.frombuffer(block.content, np.uint8)
    odd = (buffer >= _ASCII_STOP) | ((buffer < ord(" ")) & (buffer != ord("\n")))
    is_plain = np.ones(len(block.stop), bool)
    is_plain[np.searchsorted(block.stop, np.flatnonzero(odd))] = False
    return is_plain
