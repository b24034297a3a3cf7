"""``1 hour``, ``2 hours``: no sentence puts a number before a plural by itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.text.wording import counted, verb

ROOT = Path(__file__).resolve().parents[1]
THINGS = (
    "hours|files|records|users|models|sessions|events|rows|items|snapshots|lines|targets|looks|"
    "expectations|duplicates|decisions|steps|arms|candidates|recommendations|commits|leftovers|"
    "data sets|columns|values|days|processes|scenarios"
)
# A word may stand between; "/s" is a rate, and "of 3 events" of a noun before is no count of 1.
PLURAL = re.compile(rf" (?:\w+ )?(?:{THINGS})\b(?!/)")
TEMPLATE = re.compile(rf"\| number \}}\}}\s(?:\w+ )?(?:{THINGS})\b")


def bare_plurals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines of f-strings in which a plain value is followed by a plural."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, after in zip(node.values, node.values[1:], strict=False):
            if not isinstance(value, ast.FormattedValue) or not isinstance(after, ast.Constant):
                continue
            number = value.value
            if isinstance(number, ast.Call) and getattr(number.func, "id", "") == "counted":
                continue
            if match := PLURAL.match(str(after.value)):
                yield node.lineno, f"{{{ast.unparse(number)}}}{match[0]}"


@pytest.mark.parametrize(("n", "said"), [(0, "0 hours"), (1, "1 hour"), (2000, "2,000 hours")])
def test_things_are_counted(n: int, said: str) -> None:
    assert counted(n, "hour") == said
    assert verb(n, "is", "are") == ("is" if n == 1 else "are")


#: What is never 1, and what is no count: fractions, limits, names.
NEVER_ONE = {
    "pipeline/lake/commits.py: {self.rows} rows",
    "pipeline/doctor.py: {version} with files",
    "pipeline/simulator/drill_tables.py: {quiet.hours / DAY_H} quiet days",
    "pipeline/adopt/relocation.py: {shown} names files",
    "pipeline/report/traffic_lights.py: {age_h / DAY_H} days",
    "pipeline/report/traffic_lights.py: {len(volume.days)} days",
    "pipeline/report/traffic_lights.py: {percent(duplicates, records)} were duplicates",
    "pipeline/quality/duplicates.py: {name} repeats records",
    "pipeline/report/traffic_lights.py: {significant(lengths.mean)} events",
    "pipeline/sessions/gap_kernel.py: {n} events",
    "pipeline/sources/delimited.py: {count} columns",
    "training/metrics/bootstrap.py: {user.shape[0]} users",
    "training/registry/lineage.py: {uri} records",
    "training/metrics/ranks.py: {rule.repeats} targets",
    "training/report/traffic_lights.py: {behind_h / DAY_H} days",
    "training/gate/artefact_checks.py: {card.model_id} holds events",
    "training/gate/artefact_checks.py: {k} best items",
    "training/fit/train.py: {len(models)} models",
}


def test_no_sentence_puts_a_number_before_a_plural_by_itself() -> None:
    bare = {
        f"{path.relative_to(ROOT)}: {text}"
        for folder in ("pipeline", "training", "dags")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for _, text in bare_plurals(ast.parse(path.read_text("utf-8")))
    }
    assert sorted(bare - NEVER_ONE) == []


def test_no_page_puts_a_number_before_a_plural_by_itself() -> None:
    bare = [
        f"{path.name}: {match[0]}"
        for folder in ("pipeline", "training", "dags")
        for path in sorted((ROOT / folder).rglob("*.html"))
        for match in TEMPLATE.finditer(path.read_text("utf-8"))
    ]
    assert bare == []
