"""What a line of a delimited log does to a quoted field: leave it open, close it, or neither."""

from __future__ import annotations

from typing import AnyStr, NamedTuple


class Quotes(NamedTuple):
    """What stands between fields, and around those that may hold it: one character each."""

    delimiter: str
    quote: str


def leaves_open(
    line: AnyStr, delimiter: AnyStr, quote: AnyStr, carriage_return: AnyStr, is_open: bool
) -> bool | None:
    """Whether a quoted field is open behind a line, which begins in one (``is_open``) or not.

    None where what closes a field is out of place.  A quote opens a field at its beginning alone,
    and is a character like any other further on, as for Python's reader of CSV.
    """
    at = 0
    opener = delimiter + quote
    if not is_open:
        if line.startswith(quote):
            at = len(quote)
        else:
            at = line.find(opener) + len(opener)
            if at < len(opener):
                return False
    while True:
        at = line.find(quote, at)
        if at < 0:
            return True
        at += len(quote)
        after = line[at : at + 1]
        if after == quote:
            at += len(quote)
            continue
        if after and after not in (delimiter, carriage_return):
            return None
        at = line.find(opener, at) + len(opener)
        if at < len(opener):
            return False
