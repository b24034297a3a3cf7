"""The report's figures against slow, obvious references."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.hours import Hour, HourRange
from pipeline.quality.outcomes import ExpectationOutcome, Severity, ValidationOutcome
from pipeline.report.facts import (
    MAX_BARS,
    GateDecision,
    dwell_times,
    gate_light,
    hour_table,
    merged_moments,
    popularity,
    quality_light,
    quarantine_reasons,
    session_lengths,
)
from pipeline.schemas import (
    DWELL_HOURS,
    EVENTS,
    ITEM_HOURS,
    QUARANTINE,
    SESSIONS,
    SOURCE_FILES,
    TableSpec,
)

HOUR = Hour.parse("2016-03-14T13")


def table(spec: TableSpec, *rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=spec.schema)


def moments_of(hours: list[list[float]]) -> pa.Table:
    rows = []
    for place, values in enumerate(hours):
        mean = sum(values) / len(values) if values else None
        m2 = sum((value - mean) ** 2 for value in values) if mean is not None else None
        rows.append({"hour": (HOUR + place).start, "n": len(values), "mean_s": mean, "m2_s2": m2})
    return table(DWELL_HOURS, *rows)


def sessions_of(sizes: list[int], dwell_s: list[float] | None = None) -> pa.Table:
    dwells = iter(dwell_s or [])
    return table(
        SESSIONS,
        *(
            {"hour": HOUR.start, "session_id": f"s{s}", "position": p, "dwell_s": next(dwells, 1.0)}
            for s, size in enumerate(sizes)
            for p in range(size)
        ),
    )


DWELLS = st.lists(st.lists(st.floats(0, 3599), max_size=6), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(hours=DWELLS)
def test_pooled_moments_are_those_of_all_the_values(hours: list[list[float]]) -> None:
    everything = [value for hour in hours for value in hour]
    n, mean_s, m2_s2 = merged_moments(moments_of(hours))
    assert n == len(everything)
    if everything:
        mean = sum(everything) / n
        assert mean_s == pytest.approx(mean, abs=1e-9)
        assert m2_s2 == pytest.approx(sum((v - mean) ** 2 for v in everything), abs=1e-4)


def test_the_gamma_is_scipys_with_the_same_moments_and_finds_what_was_drawn() -> None:
    values = np.random.default_rng(5).gamma(0.7, 300, 20_000)
    dwell = dwell_times(moments_of([list(values)]), sessions_of([values.size], list(values)))
    assert dwell is not None
    fitted = stats.gamma(dwell.gamma_shape, scale=dwell.gamma_scale_s)
    assert fitted.mean() == pytest.approx(values.mean())
    assert fitted.var() == pytest.approx(values.var())
    shape, _, scale = stats.gamma.fit(values, floc=0, method="MM")
    assert (dwell.gamma_shape, dwell.gamma_scale_s) == pytest.approx((shape, scale), rel=1e-3)
    assert dwell.gamma_shape == pytest.approx(0.7, rel=0.05)


def test_bins_are_scotts_and_every_dwell_time_is_in_one() -> None:
    values = [0.0, 10.0, 20.0, 30.0, 40.0, 400.0]
    dwell = dwell_times(moments_of([values]), sessions_of([len(values)], values))
    assert dwell is not None
    sigma = math.sqrt(sum((v - 250 / 3) ** 2 for v in values) / 6)
    assert dwell.scott_width_s == pytest.approx(3.4908 * sigma / 6 ** (1 / 3), rel=1e-4)
    slow = Counter(int(value // dwell.scott_width_s) for value in values)
    assert dwell.counts.tolist() == [slow[b] for b in range(len(dwell.counts))]
    assert dwell.bins_per_bar == 1


def test_many_narrow_bins_share_a_bar() -> None:
    values = [*np.linspace(0, 10, 5000), 3599.0]
    dwell = dwell_times(moments_of([values]), sessions_of([len(values)], values))
    assert dwell is not None
    assert len(dwell.counts) <= MAX_BARS
    assert dwell.counts.sum() == len(values)
    bar_s = np.diff(dwell.edges_s)
    assert bar_s == pytest.approx(dwell.bins_per_bar * dwell.scott_width_s)


@pytest.mark.parametrize("values", [[], [5.0], [5.0, 5.0], [0.0, 0.0]])
def test_dwell_times_that_do_not_vary_have_no_distribution(values: list[float]) -> None:
    assert dwell_times(moments_of([values]), sessions_of([len(values)], values)) is None


def test_session_lengths() -> None:
    lengths = session_lengths(sessions_of([1, 1, 2, 11, 12, 40]))
    assert lengths is not None
    shown = dict(zip(lengths.labels, lengths.counts, strict=True))
    assert shown == {"1": 2, "2": 1, "11": 1, "12+": 2} | {str(n): 0 for n in range(3, 11)}
    assert (lengths.sessions, lengths.mean, lengths.median, lengths.longest) == (6, 67 / 6, 6.5, 40)
    assert session_lengths(sessions_of([])) is None


def test_popularity_adds_up_hours_and_ranks() -> None:
    counts = [("tea", 0, 5), ("tea", 1, 4), ("cup", 0, 1), ("pot", 1, 1)]
    found = popularity(
        table(
            ITEM_HOURS,
            *(
                {"hour": (HOUR + h).start, "item_id": item, "events": n, "users": 1}
                for item, h, n in counts
            ),
        ),
        top=2,
    )
    assert found is not None
    assert found.top == (("tea", 9, 9 / 11), ("cup", 1, 1 / 11))
    assert (found.items, found.events) == (3, 11)
    assert found.shares.tolist() == pytest.approx([9 / 11, 10 / 11, 1])
    assert found.share_of(0.01) == pytest.approx(9 / 11)
    assert found.share_of(1) == 1
    assert popularity(table(ITEM_HOURS)) is None


def test_the_hour_table_counts_by_hand() -> None:
    def event(hour: int, user: str, item: str, file: str) -> dict[str, object]:
        start = (HOUR + hour).start
        return {"hour": start, "user_id": user, "item_id": item, "source_file": file}

    def file(name: str, hour: int, duplicates: int) -> dict[str, object]:
        return {"source_file": name, "arrival": (HOUR + hour).start, "duplicates": duplicates}

    found = hour_table(
        HourRange(HOUR, HOUR + 3),
        table(
            EVENTS,
            event(0, "ann", "tea", "f0"),
            event(0, "ann", "cup", "f0"),
            event(0, "bob", "tea", "f2"),  # two hours late
            event(2, "bob", "tea", "f2"),
            event(2, "cy", "tea", "bulk"),  # loaded after the range
        ),
        table(
            SESSIONS,
            {"hour": (HOUR + 2).start, "session_id": "a"},
            {"hour": (HOUR + 2).start, "session_id": "a"},
            {"hour": (HOUR + 2).start, "session_id": "b"},
        ),
        table(
            SOURCE_FILES,
            file("f2", 0, 0),  # what it held before it was rewritten
            *(file("f0", 0, 3), file("f2", 2, 1), file("bulk", 900, 50)),
        ),
        table(QUARANTINE, *({"hour": (HOUR + 1).start, "reason": "r"} for _ in range(4))),
    )
    assert found.columns.tolist() == [
        "hour", "events", "users", "items", "sessions_closed", "late", "duplicates", "quarantined",
    ]  # fmt: skip
    assert found.to_numpy().tolist() == [
        ["2016-03-14T13", 3, 2, 2, 0, 1, 3, 0],
        ["2016-03-14T14", 0, 0, 0, 0, 0, 0, 4],
        ["2016-03-14T15", 2, 2, 1, 2, 0, 1, 0],
    ]


def test_the_hour_table_of_nothing_is_zeros() -> None:
    empty = (table(spec) for spec in (EVENTS, SESSIONS, SOURCE_FILES, QUARANTINE))
    found = hour_table(HourRange(HOUR, HOUR + 2), *empty)
    assert found.drop(columns="hour").to_numpy().sum() == 0
    assert len(found) == 2


def test_quarantine_reasons_come_by_number_with_their_first_records() -> None:
    rows = [
        {"reason": reason, "source_file": file, "line": line, "raw": f"{reason}{line}"}
        for reason, file, line in [
            ("no user", "b", 9), ("no user", "a", 7), ("no user", "a", 2),
            ("bad time", "a", 1), ("no item", "a", 1),
        ]
    ]  # fmt: skip
    reasons = quarantine_reasons(table(QUARANTINE, *rows), top=2, examples=2)
    assert [(r.reason, r.records) for r in reasons] == [("no user", 3), ("bad time", 1)]
    assert [(e.source_file, e.line) for e in reasons[0].examples] == [("a", 2), ("a", 7)]
    assert quarantine_reasons(table(QUARANTINE)) == ()


def validation(*failed: Severity) -> ValidationOutcome:
    results = tuple(
        ExpectationOutcome(f"n{i}", None, severity, False, "", "", f"{severity} {i}")
        for i, severity in enumerate(failed)
    )
    return ValidationOutcome("events", str(HOUR), results, Path("page.html"))


def test_lights() -> None:
    assert quality_light([]).colour == "grey"
    assert quality_light([validation()]).colour == "green"
    assert quality_light([validation("warning")]).colour == "amber"
    red = quality_light([validation("warning"), validation("warning", "critical")])
    assert (red.colour, red.sentence) == ("red", "critical 1. (2 more failed.)")
    assert gate_light(None).colour == "grey"
    decision = GateDecision("block", "worse", "2016-03-14T13", "a", None)
    assert gate_light(decision).colour == "red"
