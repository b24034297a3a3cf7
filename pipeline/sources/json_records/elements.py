"""A list in an object of JSON whose elements are records."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import msgspec

from pipeline.sources.json_records.readers import Object, Value, without_constants
from pipeline.sources.paths import nth_name


def list_at(record: Object, explode: str) -> Value:
    """What stands where the list should be; None where nothing does."""
    if explode in record:
        return record[explode]
    value: Value = record
    for name in explode.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


class ElementTexts:
    """Each record of a line that is exploded as a line of its own, written as the line writes it.

    Of ``{"user": 7, "items": [{"id": 1.50}, {"id": 2}]}`` the first is ``{"user": 7, "items":
    {"id": 1.50}, "items[]": 0}``.
    """

    def __init__(self, line: str, explode: str) -> None:
        self._line, self._explode = line, explode

    @cached_property
    def _objects(self) -> list[tuple[dict[str, msgspec.Raw], str]]:
        """The object that is the line, and those on the way to the list; the key that leads on."""
        decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        record = decode(without_constants(self._line))
        names = [self._explode] if self._explode in record else self._explode.split(".")
        objects = [(record, names[0])]
        for name in names[1:]:
            above, key = objects[-1]
            if not bytes(above.get(key, b"")).startswith(b"{"):
                break
            objects.append((decode(above[key]), name))
        return objects

    @cached_property
    def _elements(self) -> list[msgspec.Raw]:
        holder, name = self._objects[-1]
        raw = bytes(holder.get(name, b""))
        return msgspec.json.decode(raw, type=list[msgspec.Raw]) if raw.startswith(b"[") else []

    def text(self, nth: int) -> str:
        """The record of an element; its number alone where the line can only be read whole."""
        number = {nth_name(self._explode): nth}
        try:
            value = self._value(nth)
            for holder, name in reversed(self._objects):
                changed: dict[str, Any] = holder if value is None else {**holder, name: value}
                if holder is self._objects[0][0]:
                    changed = {**changed, **number}
                value = msgspec.Raw(msgspec.json.encode(changed))
            return bytes(value or b"").decode()
        except (msgspec.DecodeError, RecursionError):
            return json.dumps(number)

    def _value(self, nth: int) -> msgspec.Raw | None:
        """What stands in the place of the list; None where there is no list to replace."""
        if self._elements:
            return self._elements[nth]
        holder, name = self._objects[-1]
        return msgspec.Raw(b"null") if bytes(holder.get(name, b"")).startswith(b"[") else None
