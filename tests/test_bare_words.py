"""Bare words are no names: a variable, parameter or field says what it holds."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "training")
BARE_WORDS = frozenset(
    {"asked", "found", "given", "got", "held", "kept", "known", "made", "one", "part", "place"}
    | {"said", "seen", "taken", "told"}
)
# Fields that people or files know by these names: keys of settings and of JSON, columns.
PUBLISHED = Counter(
    {
        ("pipeline/doctor.py", "found"): 1,
        ("pipeline/sessions/sessionize.py", "asked"): 1,
        ("pipeline/settings/tables.py", "given"): 1,
        ("pipeline/simulator/drill_report.py", "seen"): 1,
        ("training/replay/store.py", "known"): 1,
    }
)


def bound(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of everything that gets a value."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store(), lineno=line):
                yield line, name
            case ast.arg(arg=name, lineno=line):
                yield line, name
            case (
                ast.ExceptHandler(name=str(name), lineno=line)
                | ast.MatchAs(name=str(name), lineno=line)
                | ast.MatchStar(name=str(name), lineno=line)
            ):
                yield line, name


@pytest.mark.parametrize(
    "code",
    [
        "found = 1",
        "first, (found, *rest) = 1, (2, 3)",
        "found: int = 1",
        "found += 1",
        "for found in (): ...",
        "with open('a') as found: ...",
        "[1 for found in ()]",
        "if found := 1: ...",
        "def f(found): ...",
        "def f(*, found=1): ...",
        "def f(*found): ...",
        "lambda found: 1",
        "class A:\n    found: int",
        "try: ...\nexcept ValueError as found: ...",
        "match 1:\n    case found: ...",
    ],
)
def test_every_way_to_bind_a_name_is_seen(code: str) -> None:
    assert "found" in [name for _, name in bound(ast.parse(code))]


@pytest.mark.parametrize("code", ["print(found)", "f(found=1)", "x.found = 1", "'found'"])
def test_what_binds_no_name_is_not(code: str) -> None:
    assert not list(bound(ast.parse(code)))


def test_no_name_is_a_bare_word() -> None:
    places: dict[tuple[str, str], list[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            file = path.relative_to(ROOT).as_posix()
            for line, name in sorted(bound(ast.parse(path.read_text(encoding="utf-8")))):
                if name in BARE_WORDS:
                    places.setdefault((file, name), []).append(f"{file}:{line} {name}")
    assert places.keys() >= PUBLISHED.keys(), "an exception that is no longer needed"
    excess: list[str] = []
    for (file, name), texts in places.items():
        if len(texts) > PUBLISHED[file, name]:
            excess += texts
    assert not excess, "say what it holds:\n" + "\n".join(excess)
