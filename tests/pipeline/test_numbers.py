"""Numbers as people write them, whatever their size."""

from __future__ import annotations

import re

import pytest

from pipeline.quality.checks.suite import limit_text
from pipeline.report.format import cell, number, odds
from pipeline.text.numbers import NOTHING, duration, percent, significant

EXPONENT = re.compile(r"\de[+-]?\d", re.IGNORECASE)
MAGNITUDES = [sign * 1.2345 * 10.0**power for power in range(-320, 309, 4) for sign in (1, -1)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (2.5, "2.5"),
        (2.0, "2"),
        (0.0123456, "0.0123"),
        (999.6, "1,000"),
        (2943.4, "2,943"),
        (-12.345, "-12.3"),
        (1e-9, "< 0.000001"),
        (-1e-9, "> -0.000001"),
        (3e18, "over 1,000,000,000,000,000"),
        (float("nan"), NOTHING),
        (float("inf"), NOTHING),
    ],
    ids=str,
)
def test_a_number_has_three_digits_or_all_before_the_point(value: float, text: str) -> None:
    assert significant(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (254_300_000, "2,943 days"),
        (86_400, "24 h"),
        (90, "1.5 min"),
        (0.25, "0.25 s"),
        (-7200, "-2 h"),
    ],
    ids=str,
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_no_magnitude_is_written_with_an_exponent() -> None:
    for value in MAGNITUDES:
        texts = (
            significant(value),
            duration(value),
            percent(value),
            number(value),
            cell((value, value, value)),
            odds(value),
            limit_text({"min_value": value, "max_value": -value, "mostly": 1e-7}),
        )
        assert not [text for text in texts if EXPONENT.search(text)], value
