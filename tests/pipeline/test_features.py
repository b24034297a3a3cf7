"""Metadata becomes features as loops would make them; what is not yet known at T does not show."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.features import Encoder, encode, fit_encoder, metadata_at
from pipeline.hours import Hour
from pipeline.lake.tables import ITEMS
from pipeline.settings.tables import DatasetSettings

T = Hour.parse("2024-03-03T00")
RULES = DatasetSettings(text_tokens=True)
NAMES = st.sampled_from(["Drama", "Comedy", "", "ÄÖ", "x y"])
ROW = st.fixed_dictionaries(
    {
        "categories": st.none() | st.lists(NAMES, max_size=4),
        "numbers": st.none() | st.dictionaries(st.sampled_from("ab"), st.integers(-9, 9)),
        "text": st.none() | st.sampled_from(["", "Two words", "words, two!", "Élan 2"]),
    }
)


def table(rows: dict[str, dict[str, Any]]) -> pa.Table:
    """Rows of `items` by id; what is not given is null."""
    empty = dict.fromkeys(ITEMS.schema.names)
    content = [
        {**empty, **row, "item_id": item, "numbers": list((row.get("numbers") or {}).items())}
        for item, row in rows.items()
    ]
    return pa.Table.from_pylist(content, ITEMS.schema)


def tokens_of(row: dict[str, Any]) -> set[str]:
    words = re.split(r"[\W_]+", (row.get("text") or "").lower())
    return {f"category:{name}" for name in row.get("categories") or [] if name} | {
        f"word:{word}" for word in words if word
    }


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=6), st.integers(1, 3))
def test_features_are_what_loops_make_of_the_rows(
    described: list[dict[str, Any]], least: int
) -> None:
    rows = {f"i{place}": row for place, row in enumerate(described)}
    ids = [*reversed(rows), "unknown"]
    known = metadata_at(table(rows), T).of(pa.array(ids))
    rules = RULES.model_copy(update={"min_token_items": least})
    encoder = fit_encoder(known, rules, None)

    support = Counter(token for row in rows.values() for token in tokens_of(row))
    expected = sorted((-n, token) for token, n in support.items() if n >= least)
    assert list(encoder.tokens) == [token for _, token in expected]
    values: dict[str, list[float]] = {}
    for row in rows.values():
        for name, value in (row["numbers"] or {}).items():
            values.setdefault(name, []).append(value)
    kept = sorted(
        (name for name in values if len(values[name]) >= least),
        key=lambda name: (-len(values[name]), name),
    )
    assert [scale["name"] for scale in encoder.scales] == kept

    found = encode(known, encoder).to_pylist()
    assert [row["id"] for row in found] == ids
    for item, features in zip(ids, found, strict=True):
        row = rows.get(item, {})
        wanted = [place for place, t in enumerate(encoder.tokens) if t in tokens_of(row)]
        assert features["tokens"] == wanted
        for name, number in zip(kept, features["numbers"], strict=True):
            if name not in (row.get("numbers") or {}):
                assert number is None
                continue
            std = statistics.pstdev(values[name]) or 1.0
            standard = (row["numbers"][name] - statistics.fmean(values[name])) / std
            assert number == pytest.approx(standard, abs=1e-5)


def test_what_becomes_available_at_t_or_later_is_not_known() -> None:
    before, at = T.start - timedelta(seconds=1), T.start
    now = {
        "always": {"categories": ["x"]},
        "before": {"categories": ["x"], "available_from": before},
        "gone": {"categories": ["x"], "available_to": at},
        "still there": {"categories": ["x"], "available_to": T.start + timedelta(hours=1)},
    }
    later = {
        "at": {"categories": ["planted"], "available_from": at},
        "after": {"categories": ["planted"], "available_from": T.start + timedelta(days=1)},
    }
    known, past = metadata_at(table({**later, **now}), T), metadata_at(table(now), T)
    assert known.ids.to_pylist() == ["always", "before", "gone", "still there"]
    assert known.available == ["always", "before", "still there"]
    assert known.digest == past.digest
    assert metadata_at(table({**later, **now}), T + 1).digest != past.digest


def test_when_something_will_be_gone_is_not_known_either() -> None:
    soon = {"a": {"available_to": T.start + timedelta(hours=1)}}
    assert metadata_at(table(soon), T).digest == metadata_at(table({"a": {}}), T).digest


@pytest.mark.parametrize(
    "changed",
    [
        {"categories": ["x", "y"]},
        {"categories": ["xy"]},
        {"numbers": {"n": 2}},
        {"numbers": {"m": 1}},
        {"text": "other"},
        {"available_to": T.start},
    ],
)
def test_the_digest_is_of_all_content(changed: dict[str, Any]) -> None:
    row = {"categories": ["x"], "numbers": {"n": 1}, "text": "same"}
    one = metadata_at(table({"a": row, "b": {}}), T)
    assert one.digest == metadata_at(table({"b": {}, "a": row}), T).digest
    assert one.digest != metadata_at(table({"a": row | changed, "b": {}}), T).digest
    assert one.digest != metadata_at(table({"a": row}), T).digest


def test_nothing_known_has_no_digest() -> None:
    known = metadata_at(table({}), T)
    assert known.digest is None
    assert known.of(pa.array(["a"])).is_empty


def test_an_extended_encoder_only_appends() -> None:
    """New tokens come last however frequent, and old scales stay as they were learned."""
    first = metadata_at(table({"a": {"categories": ["x"], "numbers": {"n": 1}}}), T)
    rules = DatasetSettings(min_token_items=1)
    base = fit_encoder(first, rules, None)
    rows = {
        "b": {"categories": ["new", "x"], "numbers": {"n": 5, "m": 1}},
        "c": {"categories": ["new"], "numbers": {"m": 3}},
    }
    later = fit_encoder(metadata_at(table(rows), T), rules, base)
    assert list(later.tokens) == ["category:x", "category:new"]
    assert list(later.scales) == [
        {"name": "n", "n": 1, "mean": 1.0, "std": 1.0},
        {"name": "m", "n": 2, "mean": 2.0, "std": 1.0},
    ]


def test_only_so_many_tokens_are_kept() -> None:
    rows = {f"i{n}": {"categories": ["a", "b"][: n + 1]} for n in range(2)}
    rules = DatasetSettings(min_token_items=1, max_tokens=1)
    encoder = fit_encoder(metadata_at(table(rows), T), rules, None)
    assert encoder == Encoder(["category:a"], [])
    assert encode(metadata_at(table(rows), T), encoder)["tokens"].to_pylist() == [[0], [0]]


def test_words_are_no_features_unless_asked_for() -> None:
    known = metadata_at(table({"a": {"text": "words"}}), T)
    assert fit_encoder(known, DatasetSettings(min_token_items=1), None).tokens == []
