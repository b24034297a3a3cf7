"""Model health with everything in it, its texts hostile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.report.format import Interval, Light
from pipeline.report.page_data import ReportFacts
from pipeline.report.render import report_html
from training.report.model_values import (
    CheckFound,
    Curve,
    Curves,
    Decided,
    Growth,
    Live,
    Mark,
    ModelHealth,
    Served,
    SliceFigures,
    Slices,
)
from training.report.sections import model_sections

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;'
GAP = float("nan")
HOURS = tuple(f"2016-03-14T{hour:02d}" for hour in range(10))
AT = np.array([0.5, 1.5, 4.0, 4.5])
FLOOR = Curve(
    "recent_pop", "floor", AT, np.array([0.1, 0.11, GAP, 0.12]), np.array([0.09, 0.1, GAP, GAP]),
    np.array([0.11, 0.12, GAP, GAP]),
)  # fmt: skip
LIVE = Curve(
    "live", "live", AT, np.array([0.2, 0.21, GAP, 0.2241]), np.array([0.19, 0.2, GAP, 0.2]),
    np.array([0.21, 0.22, GAP, 0.25]),
)  # fmt: skip
LINE = Curve(HOSTILE, "candidate", AT[:1], np.array([0.3]), np.array([0.2]), np.array([0.4]))
CURVES = Curves("MRR@20", 0.95, HOURS, (LIVE, FLOOR, LINE), (Mark(2.0, "promotion"),))
HELD = Decided(
    hour="2016-03-14T04",
    line=HOSTILE,
    model_id="hrnn-1",
    champion=None,
    outcome="hold",
    reasons=(HOSTILE,),
    sentence=HOSTILE,
    metric="mrr@20",
    gain=Interval(0.0123, -0.0023, 0.0269),
    lower=-0.0042,
    odds=3.1,
    needed=336.0,
    looks=3,
    targets=4321,
    users=987,
    checks=(CheckFound(HOSTILE, "block", HOSTILE, HOSTILE, ((HOSTILE, HOSTILE), ("n", 7654))),),
    file="decision.json",
)
HEALTH = ModelHealth(
    live=Live(
        name=HOSTILE,
        model_id="hrnn-0",
        version="7",
        since="2016-03-14T03:10:00+00:00",
        since_hour="2016-03-14T03",
        reason="promoted",
        sentence=HOSTILE,
        record="promotion-hrnn-0.json",
        as_of="2016-03-14T02",
        age_h=9.0,
        behind_h=8.0,
        previous="pop-0",
        rollback="hourglass rollback",
        show=f"python -m json.tool {HOSTILE}",
    ),
    decisions=(HELD,),
    older_decisions=5,
    tally={"promote": 1, "hold": 4, "block": 1},
    curves=CURVES,
    growth=(Growth(HOSTILE, AT, np.array([1, 2, GAP, 3]), np.array([20, 20, GAP, 20])),),
    hours=HOURS,
    slices=Slices(
        "2016-03-14T04 to 2016-03-14T05", "MRR@20", ("live", HOSTILE), (
            SliceFigures("all", 400, 200, (Interval(0.2, 0.1, 0.3), None), False),
            SliceFigures(HOSTILE, 40, 20, (Interval(0.4, 0.1, 0.7), Interval(0.5, 0.1, 0.9)), True,
                         Interval(0.05, -0.1, 0.2), "too_small"),
        ), 100, "hrnn at 2016-03-14T04",
    ),
    served=tuple(
        Served(HOSTILE, "hrnn-0", "7", turn, None, hour, HOSTILE, None, start, stop)
        for turn, hour, start, stop in (
            ("watch", "2016-03-14T06", 6.0, None),
            ("promotion", "2016-03-14T03", 3.0, 6.0),
            ("rollback", None, None, 3.0),
            ("bootstrap", "2016-03-13T03", -21.0, 1.0),
        )
    ),
    damaged=(HOSTILE,),
    leaderboard=(
        {"model": HOSTILE, "MRR@20": Interval(0.25, 0.2, 0.3)},
        {"model": "pop", "MRR@20": Interval(0.05, 0.04, 0.06), "note": "baseline"},
    ),
    leaderboard_note="over targets",
)  # fmt: skip


def page_of(health: ModelHealth, lights: Sequence[Light] = ()) -> str:
    """A page without anything about data."""
    return report_html(ReportFacts("Shop", "hours", extra=model_sections(health, lights)))
