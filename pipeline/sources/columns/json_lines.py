"""JSON lines as columns: decoded by msgspec, which cuts out each field as it is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from pipeline.array_types import Bools
from pipeline.sources.columns.texts import texts_of
from pipeline.sources.columns.types import LineBlock, TextColumns
from pipeline.sources.paths import has_keys

_LINES_AT_ONCE = 2048
_ABSENT = msgspec.Raw(b"")
# Where the line parser gives up depends on how deep it is called: far from there both agree.
_MOST_OPENINGS = 500
_LONGEST_NUMBER = 64
_MOST_DIGITS = 4300
_ENDLESS = re.compile(rb"[0-9]{%d}" % (_MOST_DIGITS + 1))
_MINUS_ZERO = "-0"
_QUOTE, _MINUS, _ZERO, _NINE, _NEWLINE = map(ord, '"-09\n')
_FRACTION_MARKS = np.frombuffer(b".eE", np.uint8)
_NULL, _TRUE, _FALSE = map(ord, "ntf")


class JsonColumns:
    """Makes columns of records in which each field is a plain value.

    Args:
        fields: dotted paths of the fields of an event, by name.
        context: dotted paths of the fields of its context, by name.
        columns: dotted paths that rules look at.
        identities: those at which fractions are other ways to write an id.
    """

    def __init__(
        self,
        fields: Mapping[str, str],
        context: Mapping[str, str],
        columns: Sequence[str],
        identities: Sequence[str],
    ) -> None:
        self._fields, self._context, self._ruled = fields, context, columns
        self._identities = frozenset(identities)
        paths = sorted({*fields.values(), *context.values(), *columns})
        # A key may itself have dots, and then goes before the path of that name.
        dotted = [path for path in paths if "." in path]
        tree = {**_tree(paths), **dict.fromkeys(dotted)}
        names = list(tree)
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_record_type(tree))
        self._read: dict[str, Callable[[Any], msgspec.Raw]] = {}
        for path in paths:
            self._read[path] = _reader(tree, path)
            if path in dotted:
                self._read[path] = _preferring(f"f{names.index(path)}", self._read[path])

    def __call__(self, block: LineBlock) -> TextColumns:
        """The fields of the lines that are records."""
        records, is_record = self._records(block)
        is_plain = np.ones(len(records), bool)
        columns = {}
        for path, read in self._read.items():
            columns[path], is_text = plain_texts(
                [read(record) for record in records], path in self._identities
            )
            is_plain &= is_text
        (line,) = np.nonzero(is_record)
        if not is_plain.all():
            mask = pa.array(is_plain)
            columns = {path: column.filter(mask) for path, column in columns.items()}
            line = line[is_plain]
        return TextColumns(
            line,
            {name: columns[path] for name, path in self._fields.items()},
            {name: columns[path] for name, path in self._context.items()},
            {path: columns[path] for path in self._ruled},
        )

    def _records(self, block: LineBlock) -> tuple[list[Any], Bools]:
        """The records, and which lines are one, (L,)."""
        is_record = _is_shallow(block) & ~_has_endless_number(block)
        # Of lines that begin and end so, as many records as lines are one each: within a record
        # no object follows another without a comma.
        buffer = np.frombuffer(block.content, np.uint8)
        is_whole = (buffer[block.start] == ord("{")) & (buffer[block.stop - 1] == ord("}"))
        is_whole &= is_record
        records: list[Any] = []
        for first in range(0, len(block.stop), _LINES_AT_ONCE):
            starts = block.start[first : first + _LINES_AT_ONCE].tolist()
            stops = block.stop[first : first + _LINES_AT_ONCE].tolist()
            if is_whole[first : first + _LINES_AT_ONCE].all():
                lines = block.content[starts[0] : stops[-1] + 1]
                try:
                    decoded = self._decoder.decode_lines(lines)
                except (msgspec.DecodeError, RecursionError):
                    decoded = []
                if len(decoded) == len(starts):
                    records += decoded
                    continue
            # Some line is no such record: which, only each by itself can tell.
            for at, (start, stop) in enumerate(zip(starts, stops, strict=True), first):
                if not is_record[at]:
                    continue
                try:
                    records.append(self._decoder.decode(block.content[start:stop]))
                except (msgspec.DecodeError, RecursionError):
                    is_record[at] = False
        return records, is_record


def can_find(paths: Sequence[str]) -> bool:
    """Whether one type of record has all paths: none leads through what another one reads."""
    above = {path[:at] for path in paths for at in range(len(path)) if path[at] == "."}
    # Names that JSON must escape are none to msgspec.
    are_plain = all(path.isprintable() and not {'"', "\\"} & set(path) for path in paths)
    are_plain &= not any(map(has_keys, paths))
    return are_plain and above.isdisjoint(paths)


Tree = dict[str, Any]


def _tree(paths: Sequence[str]) -> Tree:
    """The keys of the paths within one another; a field that is read is None."""
    tree: Tree = {}
    for path in paths:
        *above, last = path.split(".")
        branch = tree
        for key in above:
            branch = branch.setdefault(key, {})
        branch[last] = None
    return tree


def _record_type(tree: Tree) -> type:
    """A type of record whose fields, ``f0`` and so on, are the keys of a tree in their order."""
    fields: list[tuple[str, Any, Any]] = []
    for nth, below in enumerate(tree.values()):
        if below is None:
            fields.append((f"f{nth}", msgspec.Raw, _ABSENT))
        else:
            fields.append((f"f{nth}", _record_type(below) | None, None))
    names = {f"f{nth}": key for nth, key in enumerate(tree)}
    return msgspec.defstruct("Record", fields, rename=names, gc=False)


def _reader(tree: Tree, path: str) -> Callable[[Any], msgspec.Raw]:
    """A function from a record to the value at a path, as it is written."""
    attributes = []
    branch: Any = tree
    for key in path.split("."):
        attributes.append(f"f{list(branch).index(key)}")
        branch = branch[key]
    *above, last = attributes
    if not above:
        return attrgetter(last)

    def read(record: object) -> msgspec.Raw:
        for attribute in above:
            record = getattr(record, attribute)
            if record is None:
                return _ABSENT
        value: msgspec.Raw = getattr(record, last)
        return value

    return read


def _preferring(
    attribute: str, otherwise: Callable[[Any], msgspec.Raw]
) -> Callable[[Any], msgspec.Raw]:
    def read(record: object) -> msgspec.Raw:
        value: msgspec.Raw = getattr(record, attribute)
        return value if memoryview(value) else otherwise(record)

    return read


def _is_shallow(block: LineBlock) -> Bools:
    """Which lines open so few objects and lists that none can be deep, (L,)."""
    is_shallow: Bools = block.stop - block.start <= _MOST_OPENINGS
    if not is_shallow.all():
        buffer = np.frombuffer(block.content, np.uint8)
        openings = np.flatnonzero((buffer == ord("{")) | (buffer == ord("[")))
        count = np.searchsorted(openings, block.stop) - np.searchsorted(openings, block.start)
        is_shallow = count <= _MOST_OPENINGS
    return is_shallow


def _has_endless_number(block: LineBlock) -> Bools:
    """Which lines hold more digits in a row than Python makes a number of, (L,)."""
    has_one = np.zeros(len(block.stop), bool)
    for nth in np.flatnonzero(block.stop - block.start > _MOST_DIGITS).tolist():
        line = block.content[block.start[nth] : block.stop[nth]]
        has_one[nth] = _ENDLESS.search(line) is not None
    return has_one


def plain_texts(
    values: Sequence[msgspec.Raw], whole_numbers: bool = False
) -> tuple[pa.Array, Bools]:
    r"""The texts of values as JSON writes them, and which of them are plain, (n,) both.

    ``"a"`` is ``a``; ``1.50`` stays so; ``true`` is a text, and ``null``, or nothing at all, the
    empty one.  Lists, objects and strings with escapes are not plain, nor are fractions where only
    ``whole_numbers`` are; their texts mean nothing.
    """
    n = len(values)
    joined = b"\n".join([*values, b""])
    buffer = np.frombuffer(joined, np.uint8)
    stop = np.flatnonzero(buffer == _NEWLINE)  # (n,)
    start = np.concatenate([[0], stop[:-1] + 1])[:n]  # (n,)
    length = stop - start
    first = np.where(length > 0, buffer[start], _NULL)
    is_string = first == _QUOTE
    is_number = (first == _MINUS) | ((first >= _ZERO) & (first <= _NINE))
    is_null = first == _NULL
    # -0 is a whole number to the line parser, and that is 0.
    is_minus_zero = is_number & (length == len(_MINUS_ZERO)) & (first == _MINUS)
    is_minus_zero[is_minus_zero] = buffer[start[is_minus_zero] + 1] == _ZERO
    is_plain = is_string | is_null | (first == _TRUE) | (first == _FALSE)
    is_plain |= is_number & ~is_minus_zero & (length <= _LONGEST_NUMBER)
    if b"\\" in joined:
        escapes = np.flatnonzero(buffer == ord("\\"))
        is_plain[np.searchsorted(stop, escapes)] = False
    if whole_numbers and is_number.any():
        marks = np.flatnonzero(np.isin(buffer, _FRACTION_MARKS))
        has_mark = np.zeros(n, bool)
        has_mark[np.searchsorted(stop, marks)] = True
        is_plain &= ~(is_number & has_mark)
    wanted = np.ones(len(buffer), bool)
    wanted[stop] = False
    wanted[start[is_string]] = False
    wanted[stop[is_string] - 1] = False
    if is_null.any():
        wanted &= ~np.repeat(is_null, length + 1)
    sizes = length - 2 * is_string
    sizes[is_null] = 0
    return texts_of(buffer[wanted].tobytes(), sizes), is_plain
