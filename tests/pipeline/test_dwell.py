"""Dwell-time moments merge as if all values had been seen at once, and give Scott's bin width."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sessions.dwell import Moments, merged

DWELLS = st.lists(
    st.floats(0, 1e5, allow_nan=False).map(lambda value: round(value, 6)), max_size=40
)


def row(values: list[float]) -> dict[str, float]:
    """A row of ``dwell_hours``, from the raw values."""
    mean = math.fsum(values) / len(values) if values else 0.0
    m2 = math.fsum((value - mean) ** 2 for value in values)
    return {"n": len(values), "mean_s": mean, "m2_s2": m2}


@given(st.lists(DWELLS, max_size=8))
def test_merged_moments_are_those_of_all_values(hours: list[list[float]]) -> None:
    found = merged(row(values) for values in hours)
    every = row([value for values in hours for value in values])
    assert found.n == every["n"]
    assert found.mean_s == pytest.approx(every["mean_s"], rel=1e-9, abs=1e-9)
    assert found.m2_s2 == pytest.approx(every["m2_s2"], rel=1e-9, abs=1e-3)


@given(DWELLS.filter(bool))
def test_scott_width_is_asars_equation_8(values: list[float]) -> None:
    n = len(values)
    mean = sum(values) / n
    sigma = math.sqrt(sum((value - mean) ** 2 for value in values) / n)
    width = sigma * (24 * math.sqrt(math.pi) / n) ** (1 / 3)
    assert merged([row(values)]).scott_width_s == pytest.approx(width, rel=1e-6, abs=1e-6)


def test_scott_constant_is_the_well_known_one() -> None:
    assert Moments(1000, 5.0, 1000.0).scott_width_s == pytest.approx(3.4908 / 10, rel=1e-4)


@pytest.mark.parametrize("values", [[], [42.0]])
def test_no_value_and_one_value_have_no_width(values: list[float]) -> None:
    found = merged([row(values), row([])])
    assert (found.n, found.mean_s, found.m2_s2) == (len(values), sum(values), 0.0)
    assert found.scott_width_s == 0.0
