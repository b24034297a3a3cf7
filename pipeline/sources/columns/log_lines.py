"""Common Log Format as columns: the line parser's own patterns, on all lines at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.columns.texts import mapped, texts_of
from pipeline.sources.columns.types import LineBlock, TextColumns

_ASCII_STOP = 0x80
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME = (
    r"^(?P<day>[0-9]{2})/(?P<month>" + "|".join(MONTHS) + r")/(?P<year>[0-9]{4})"
    r":(?P<clock>[0-9]{2}:[0-9]{2}:[0-9]{2})(?: (?P<hours>[+-][0-9]{2})(?P<minutes>[0-9]{2}))?$"
)
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_COMBINED = rf"^ (?P<referer>{_QUOTED}) (?P<user_agent>{_QUOTED})(?: .*)?$"


class LogColumns:
    """Makes columns of lines that are requests with a method and a URL.

    Args:
        line: pattern of a whole line, with the groups head, time, request, response, bytes, rest.
        request: pattern of a whole request, with the groups method and url.
        client_of: who asked, of what stands before a line's time.
        server_of: which server was asked, of the same; "" where that is not told.
        columns: names of what rules look at.
    """

    def __init__(
        self,
        line: str,
        request: str,
        client_of: Callable[[str], str],
        server_of: Callable[[str], str],
        columns: Sequence[str],
    ) -> None:
        self._line, self._request = f"^(?:{line})$", f"^(?:{request})$"
        self._client_of, self._server_of, self._ruled = client_of, server_of, columns

    def __call__(self, block: LineBlock) -> TextColumns:
        """The fields of the lines that match; times as ISO 8601 has them."""
        texts = line_texts(block)
        parts = pc.extract_regex(texts, self._line)
        request = pc.extract_regex(pc.struct_field(parts, "request"), self._request)
        time = iso8601_of(pc.struct_field(parts, "time"))
        is_request = pc.and_(pc.is_valid(parts), pc.and_(pc.is_valid(request), pc.is_valid(time)))
        is_sure = is_request.to_numpy(zero_copy_only=False) & _is_plain(block)
        columns = {
            **{name: pc.struct_field(parts, name) for name in ("time", "request")},
            **{name: _or_empty(pc.struct_field(parts, name)) for name in ("response", "bytes")},
            **{name: pc.struct_field(request, name) for name in ("method", "url")},
            "host": mapped(pc.struct_field(parts, "head"), self._client_of),
            "server": mapped(pc.struct_field(parts, "head"), self._server_of),
        }
        if not {"referer", "user_agent"}.isdisjoint(self._ruled):
            rest = pc.struct_field(parts, "rest")
            combined = pc.extract_regex(rest, _COMBINED)
            for name in ("referer", "user_agent"):
                quoted = pc.utf8_slice_codeunits(pc.struct_field(combined, name), 1, -1)
                columns[name] = _or_empty(quoted.fill_null(""))
            is_common = pc.or_(pc.equal(rest, ""), pc.is_valid(combined)).fill_null(False)
            is_sure &= is_common.to_numpy(zero_copy_only=False)
        wanted = pa.array(is_sure)
        columns = {name: column.filter(wanted) for name, column in columns.items()}
        return TextColumns(
            np.flatnonzero(is_sure),
            {
                "event_time": time.filter(wanted),
                "user_id": columns["host"],
                "item_id": columns["url"],
                "event_type": columns["method"],
                "value": columns["bytes"],
            },
            {"response": columns["response"], "server": columns["server"]},
            {name: columns[name] for name in self._ruled},
        )


def _or_empty(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(texts, "-"), "", texts)


def iso8601_of(times: pa.Array) -> pa.Array:
    """``01/Jul/1995:00:00:01 -0400`` as ``1995-07-01T00:00:01-04:00``; null where it is none."""
    parts = pc.extract_regex(times, _TIME)
    day, month, year, clock, hours, minutes = (
        pc.struct_field(parts, name)
        for name in ("day", "month", "year", "clock", "hours", "minutes")
    )
    numbers = pa.array([f"{nth:02d}" for nth in range(1, len(MONTHS) + 1)])
    month = numbers.take(pc.index_in(month, value_set=pa.array(MONTHS)))
    date = pc.binary_join_element_wise(year, month, day, "-")
    minutes = pc.if_else(pc.equal(hours, ""), "", pc.binary_join_element_wise(":", minutes, ""))
    return pc.binary_join_element_wise(date, "T", clock, hours, minutes, "")


def line_texts(block: LineBlock) -> pa.Array:
    """The lines of a block as texts, (L,)."""
    buffer = np.frombuffer(block.content, np.uint8)
    return texts_of(np.delete(buffer, block.stop).tobytes(), block.stop - block.start)


def _is_plain(block: LineBlock) -> np.ndarray:
    """Which lines are ASCII without control characters, so that all patterns mean the same."""
    buffer = np.frombuffer(block.content, np.uint8)
    odd = (buffer >= _ASCII_STOP) | ((buffer < ord(" ")) & (buffer != ord("\n")))
    is_plain = np.ones(len(block.stop), bool)
    is_plain[np.searchsorted(block.stop, np.flatnonzero(odd))] = False
    return is_plain
