"""Model health with everything in it, its texts hostile."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipeline.hours import Hour
from pipeline.report.format import Interval, StatusLight
from pipeline.report.page_data import ReportFacts
from pipeline.report.render import report_html
from training.deployment.champion_history import ChampionPeriod
from training.evaluation.evaluate import Evaluation
from training.evaluation.lists import FUTURE_STEPS, ListFigures
from training.gate.evidence import CheckResult, Outcome
from training.metrics.ranks import SummaryRow
from training.report.champion import CurrentChampion, ServedPeriod
from training.report.curves import Curve, Growth
from training.report.decisions import DecisionRow
from training.report.gather import ModelHealth
from training.report.sections import model_sections
from training.report.slices import Slice, Slices

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;'
GAP = float("nan")
HOURS = tuple(f"2016-03-14T{hour:02d}" for hour in range(10))
AT = np.array([0.5, 1.5, 4.0, 4.5])
BASELINE = Curve(
    "recent_pop", "baseline", AT, np.array([0.1, 0.11, GAP, 0.12]), np.array([0.09, 0.1, GAP, GAP]),
    np.array([0.11, 0.12, GAP, GAP]),
)  # fmt: skip
LIVE = Curve(
    "live", "live", AT, np.array([0.2, 0.21, GAP, 0.2241]), np.array([0.19, 0.2, GAP, 0.2]),
    np.array([0.21, 0.22, GAP, 0.25]),
)  # fmt: skip
CANDIDATE = Curve(HOSTILE, "candidate", AT[:1], np.array([0.3]), np.array([0.2]), np.array([0.4]))
HELD = DecisionRow(
    hour=Hour.parse("2016-03-14T04"),
    name=HOSTILE,
    model_id="hrnn-1",
    champion=None,
    outcome="hold",
    reasons=(HOSTILE,),
    sentence=HOSTILE,
    gain=Interval(0.0123, -0.0023, 0.0269),
    lower=-0.0042,
    odds=3.1,
    needed=336.0,
    looks=3,
    targets=4321,
    users=987,
    checks=(CheckResult(HOSTILE, Outcome.BLOCK, HOSTILE, HOSTILE, {HOSTILE: HOSTILE, "n": 7654}),),
    file="decision.json",
)


def period(reason: str, since_hour: str | None, since_at: str | None = None) -> ChampionPeriod:
    return ChampionPeriod(
        *("hrnn-0", "7", HOSTILE),
        since_at=since_at,
        since_hour=Hour.parse(since_hour) if since_hour else None,
        until_at=None,
        until_hour=None,
        reason=reason,
        sentence=HOSTILE,
        record=None,
    )


def row(model_id: str, mean: float, lower: float, upper: float) -> SummaryRow:
    return SummaryRow(model_id, "mrr", 20, "all", mean, lower, upper, 400, 200)


HEALTH = ModelHealth(
    live=CurrentChampion(
        period("promoted", "2016-03-14T03", "2016-03-14T03:10:00+00:00"),
        Hour.parse("2016-03-14T02"),
        age_h=9.0,
        behind_h=8.0,
        previous="pop-0",
        show=f"python -m json.tool {HOSTILE}",
    ),
    decisions=(HELD,),
    older_decisions=5,
    tally={"promote": 1, "hold": 4, "block": 1},
    metric="MRR@20",
    confidence=0.95,
    hours=HOURS,
    curves=(LIVE, BASELINE, CANDIDATE),
    growth=(Growth(HOSTILE, AT, np.array([1, 2, GAP, 3]), np.array([20, 20, GAP, 20])),),
    slices=Slices(
        "2016-03-14T04 to 2016-03-14T05", "MRR@20", ("live", HOSTILE), (
            Slice("all", 400, 200, (Interval(0.2, 0.1, 0.3), None)),
            Slice(HOSTILE, 40, 20, (Interval(0.4, 0.1, 0.7), Interval(0.5, 0.1, 0.9)),
                  Interval(0.05, -0.1, 0.2), "too_small"),
        ), 100, "hrnn at 2016-03-14T04",
    ),
    served=tuple(
        ServedPeriod(period(reason, hour), start, stop)
        for reason, hour, start, stop in (
            ("below_floor", "2016-03-14T06", 6.0, None),
            ("promoted", "2016-03-14T03", 3.0, 6.0),
            ("rolled_back_by_hand", None, None, 3.0),
            ("bootstrap", "2016-03-13T03", -21.0, 1.0),
        )
    ),
    damaged=(HOSTILE,),
    last=Evaluation(
        "f", "2016-03-14T04", 400, 0, {"a": HOSTILE, "b": "pop"},
        [row("a", 0.25, 0.2, 0.3), row("b", 0.05, 0.04, 0.06)], {},
        lists={
            "a": ListFigures(
                20, 7, 0.25, 0.5, 10.125, (0.5, *[math.nan] * FUTURE_STEPS), math.nan, 0.875
            )
        },
    ),
)  # fmt: skip


def page_of(health: ModelHealth, lights: Sequence[StatusLight] = ()) -> str:
    """A page without anything about data."""
    return report_html(ReportFacts("Shop", "hours", extra=model_sections(health, lights)))
