"""Where in a file of columns the fields of its records are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from pipeline.settings.source import ColumnSettings
from pipeline.sources.base import HeaderError
from pipeline.sources.field_rules import FieldRules
from pipeline.sources.fields import fields_read
from pipeline.sources.paths import ELEMENT, PairKey, below_list, nth_name
from pipeline.sources.tables.paths import steps_of, type_at
from pipeline.sources.tables.texts import is_list
from pipeline.text.wording import counted

_MOST_NAMES, _MOST_CHARS = 40, 400


def paths_of(columns: ColumnSettings, rules: FieldRules) -> dict[str, str]:
    """The path of each field, see :class:`Layout`."""
    paths: dict[str, str] = {}
    n_keys = 0
    for field, path in fields_read(columns):
        if path is None:
            continue
        n_keys += field == "event_key"
        paths[f"event_key {n_keys}" if field in paths else field] = path
    paths |= {f"context.{name}": path for name, path in columns.context.items()}
    return paths | {f"ignored {path}": path for path in rules.ignored_by}


def called_by_field(
    columns: ColumnSettings, rules: FieldRules
) -> tuple[ColumnSettings, FieldRules]:
    """Columns, and rules about columns, that are called as in :func:`paths_of`."""
    keys = [name for name in paths_of(columns, rules) if name.startswith("event_key")]
    fields = {name: name for name, path in fields_read(columns) if path is not None}
    context = {name: f"context.{name}" for name in columns.context}
    key = {"event_key": tuple(keys) if len(keys) > 1 else keys[0]} if keys else {}
    ignore = tuple(
        rule.model_copy(
            update={
                "name": rule.label,
                "column": rule.column and f"ignored {rule.column}",
                "also": tuple(
                    condition.model_copy(update={"column": f"ignored {condition.column}"})
                    for condition in rule.also
                ),
            }
        )
        for rule in rules.ignore
    )
    return (
        columns.model_copy(update={**fields, **key, "context": context}),
        replace(rules, ignore=ignore),
    )


@dataclass(frozen=True)
class Layout:
    """The path of each field that the settings name, and of the list that is exploded if any.

    Fields are those of ``source.columns``; a context field is called ``context.device``, a further
    column of a key ``event_key 2``, and one that a rule of ``source.ignore`` looks at ``ignored
    device``.
    """

    paths: Mapping[str, str]
    explode: str | None = None

    @property
    def numbers_keys(self) -> bool:
        """Whether the elements of a row would share the row's key, and so are numbered."""
        keys = [
            path
            for field, path in self.paths.items()
            if field == "event_key" or field.startswith("event_key ")
        ]
        return bool(
            self.explode is not None and keys and all(self._below_list(key) is None for key in keys)
        )

    @property
    def nth_name(self) -> str:
        """What the number of an element is called in the text of its record."""
        return nth_name(str(self.explode))

    def list_steps(self, schema: pa.Schema, file_name: str) -> tuple[str, ...] | None:
        """The steps to the list that is exploded; None where none is.

        Raises:
            HeaderError: the file has no such list.
        """
        if self.explode is None:
            return None
        steps = steps_of(self.explode, schema)
        leads_to_pair = steps is not None and any(isinstance(step, PairKey) for step in steps)
        if steps is None or leads_to_pair or not is_list(type_at(steps, schema)):
            raise HeaderError(
                file_name,
                f"no list {self.explode!r} among its columns: {_shown(schema)}; source.explode "
                "says which list's elements are records",
                f"the file has no list {self.explode!r}",
            )
        return steps

    def steps(self, schema: pa.Schema, file_name: str) -> dict[str, tuple[str, ...]]:
        """The steps to each field, in a file's rows with :data:`ELEMENT` beside their columns.

        Raises:
            HeaderError: the file has no column of such a path, or no list to explode.
        """
        list_steps = self.list_steps(schema, file_name)
        of_records = schema
        if list_steps is not None:
            element = type_at(list_steps, schema).value_type
            of_records = schema.append(pa.field(ELEMENT, element))
        steps = {}
        for field, path in self.paths.items():
            below = self._below_list(path)
            to_field = steps_of(path if below is None else ELEMENT + below, of_records)
            if to_field is None:
                count = schema.names.count(path)
                wrong = f"{counted(count, 'column')} called" if count > 1 else "no column"
                raise HeaderError(
                    file_name,
                    f"{wrong} {path!r} among its columns: {_shown(schema)}; "
                    f"source.columns.{field} says which column holds the {field}",
                    f"the file has {wrong} {path!r}",
                )
            steps[field] = to_field
        return steps

    def _below_list(self, path: str) -> str | None:
        """What of a path lies below the list, from its dot on; None where it is elsewhere."""
        return None if self.explode is None else below_list(path, self.explode)


def _shown(schema: pa.Schema) -> str:
    return ", ".join(schema.names[:_MOST_NAMES])[:_MOST_CHARS]
