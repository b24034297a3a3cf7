"""Facts of a report with everything in it, much of it hostile, and of one with nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from markupsafe import Markup

from pipeline.hours import Hour, HourRange
from pipeline.quality.drift import Comparison, Drift
from pipeline.report.failures import Failure
from pipeline.report.format import Link, StatusLight
from pipeline.report.intake import Reason
from pipeline.report.page_data import ExtraSections, ReportFacts
from pipeline.report.popularity import Churn, Popularity
from pipeline.report.sessions import (
    DwellTimes,
    Gamma,
    Repeats,
    SessionLengths,
    SessionTimes,
    Spread,
)

__all__ = ["EMPTY", "FULL", "HOSTILE", "HOURS", "PAGE"]
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;'
EMPTY = ReportFacts("Hourglass", "2016-03-14T13 to 2016-03-15T13")
PAGE = "../data_docs/page.html"
SPREAD = Spread(4, 1, 60.0, 10.0, 600.0, np.array([1.0, 60.0, 3600.0]), np.array([1, 2]))
HOURS = HourRange(Hour.parse("2016-03-14T19"), Hour.parse("2016-03-15T19"))
SHARES = np.array([0.9, 0.1])
FULL = ReportFacts(
    title=f"Shop {HOSTILE}",
    generated_for="2016-03-14T13 to 2016-03-15T19",
    lights=(StatusLight("Data quality", "red", f"broken {HOSTILE}"),),
    hours=pd.DataFrame(
        {
            "hour": [f"2016-03-{14 + n // 24}T{n % 24:02d}" for n in range(30)],
            "events": range(1000, 1030),
            "users": range(30),
            "items": range(30),
            "sessions_closed": range(30),
            "late": 1,
            "records": 1000,
            "duplicates": 0,
            "quarantined": 0,
        }
    ),
    reasons=(
        Reason(
            HOSTILE,
            2,
            ({"source_file": HOSTILE, "line": 7, "raw": HOSTILE + "\x00\x1b[31m\u202e"},),
        ),
    ),
    failures=(
        Failure(
            "hours",
            HOSTILE,
            "critical",
            2,
            1,
            "2016-03-14T13",
            "2016-03-14T15",
            HOSTILE,
            (HOSTILE,),
            (HOSTILE,),
            PAGE,
        ),
    ),
    dwell=DwellTimes(
        4,
        30.0,
        20.0,
        25.0,
        1,
        25.0,
        1,
        np.array([0.0, 25, 50, 75]),
        np.array([1, 2, 1]),
        Gamma(2.25, 13.3, 0.2, 30.0),
        Gamma(1.5, 20.0, 0.1, 40.0),
        SPREAD,
    ),
    lengths=SessionLengths(3, 2.0, 2.0, 3, ("1", "2", "3+"), (1, 1, 1)),
    times=SessionTimes(SPREAD, SPREAD, 3, ("1", "2"), (2, 1), 0.67),
    repeats=Repeats(10, 0.3, 0.2, 0.1, ("1", "2"), np.full((3, 2), 1 / 3), SPREAD),
    churn=Churn(
        "day",
        20,
        ("2016-03-13", "2016-03-14", "2016-03-15"),
        np.array([0.5, np.nan]),
        np.array([0.6, 0.4]),
        1.5,
    ),
    drift=Comparison(
        HOURS,
        7,
        (Drift("event_type", (HOSTILE, "$x^{$"), SHARES, SHARES[::-1], 0.8, 0.1, 0.0002, 0.0005),),
    ),
    popularity=Popularity(2, 10, ((HOSTILE, 9, 0.9), ("cup", 1, 0.1)), np.array([0.9, 1.0])),
    filter_steps=(
        {"step": HOSTILE, "events": 200, "items": 20, "users": 10, "sessions": 40},
        {"step": "support", "events": 50, "items": 5, "users": 4, "sessions": 12},
    ),
    links=(
        Link("Data Docs", "data_docs/index.html"),
        Link("trap", "javascript:alert(3)"),
        Link(HOSTILE, command=f"mlflow ui {HOSTILE}"),
    ),
    extra=ExtraSections(
        "Weather",
        Markup('<section id="rain"><h2>Rain</h2><b>none</b></section>'),
        (StatusLight("Sky", "green", HOSTILE),),
        (("rain", f"Rain {HOSTILE}"),),
    ),
)
