"""Records that are none of our business, told by what their columns hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from pipeline.settings.ignore import IgnoreCondition, IgnoreRule
from pipeline.sources.base import Ignored
from pipeline.sources.field_rules import FieldRules
from pipeline.sources.robots import is_robot

R = TypeVar("R")  # a record: its fields, its object, its match
ReadColumn = Callable[[R], str | None]
Test = Callable[[R], bool]
TestText = Callable[[str | None], bool]


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
    compiled: list[tuple[Ignored, list[Test[R]]]] = []
    for rule in rules.ignore:
        tests = [
            _of_record(event_type if name is None else column(name), test)
            for name, test in tests_of(rule, rules, default_event_type)
        ]
        compiled.append((Ignored(rule.label), tests))

    def ignored(record: R) -> Ignored | None:
        for answer, tests in compiled:
            if all(test(record) for test in tests):
                return answer
        return None

    return ignored


def tests_of(
    rule: IgnoreRule, rules: FieldRules, default_event_type: str
) -> list[tuple[str | None, TestText]]:
    """What a rule asks of the texts of columns, by their names; None is the event's type."""
    nothing = frozenset(("", *rules.nothing))
    types = frozenset(rule.event_types)

    def has_type(text: str | None) -> bool:
        if text is not None and rules.trim:
            text = text.strip()
        if text is not None and text.strip() in nothing:
            text = default_event_type
        return text in types

    tests: list[tuple[str | None, TestText]] = [(None, has_type)] if types else []
    return tests + [(str(each.column), _test(each, nothing)) for each in rule.conditions]


def _of_record(read: ReadColumn[R], test: TestText) -> Test[R]:
    return lambda record: test(read(record))


def _test(condition: IgnoreCondition, nothing: frozenset[str]) -> TestText:
    equals = frozenset(condition.equals)
    search = None if condition.matches is None else re.compile(condition.matches).search
    present, robots = condition.present, condition.robots

    def holds(text: str | None) -> bool:
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
