"""Records that are none of our business, told by what their columns hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from pipeline.settings.ignore import IgnoreCondition
from pipeline.sources.base import Ignored
from pipeline.sources.field_rules import FieldRules
from pipeline.sources.robots import is_robot

R = TypeVar("R")  # a record: its fields, its object, its match
ReadColumn = Callable[[R], str | None]
Test = Callable[[R], bool]


def ignorer(
    rules: FieldRules,
    column: Callable[[str], ReadColumn[R]],
    event_type: ReadColumn[R],
    default_event_type: str,
) -> Callable[[R], Ignored | None] | None:
    """A function from a record to the rule that leaves it out, None where none does.

    Args:
        rules: the first rule that fits is the one.
        column: the reader of a column that a rule names: its text, "" where there is none, None
            where it holds a list or an object, of which is only known that it is there.
        event_type: the reader of the event's type.
        default_event_type: of records that name none.

    Returns:
        None where there are no rules, so that records without them cost nothing.
    """
    if not rules.ignore:
        return None
    nothing = frozenset(("", *rules.nothing))

    def type_test(event_types: Sequence[str]) -> Test[R]:
        types = frozenset(event_types)

        def has_type(record: R) -> bool:
            text = event_type(record)
            if text is not None and rules.trim:
                text = text.strip()
            if text is not None and text.strip() in nothing:
                text = default_event_type
            return text in types

        return has_type

    compiled: list[tuple[Ignored, list[Test[R]]]] = []
    for rule in rules.ignore:
        tests = [type_test(rule.event_types)] if rule.event_types else []
        tests += [_test(each, column(str(each.column)), nothing) for each in rule.conditions]
        compiled.append((Ignored(rule.label), tests))

    def ignored(record: R) -> Ignored | None:
        for answer, tests in compiled:
            if all(test(record) for test in tests):
                return answer
        return None

    return ignored


def _test(condition: IgnoreCondition, read: ReadColumn[R], nothing: frozenset[str]) -> Test[R]:
    equals = frozenset(condition.equals)
    search = None if condition.matches is None else re.compile(condition.matches).search
    present, robots = condition.present, condition.robots

    def holds(record: R) -> bool:
        text = read(record)
        if text is None:
            return bool(present) and not (equals or search or robots)
        text = text.strip()
        return (
            (not equals or text in equals)
            and (search is None or search(text) is not None)
            and (present is None or present == (text not in nothing))
            and (not robots or is_robot(text))
        )

    return holds
