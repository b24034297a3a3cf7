"""Everything that the report says, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.hours import Hour
from pipeline.quality.drift import Comparison
from pipeline.report.failures import Failure
from pipeline.report.format import Link, StatusLight
from pipeline.report.incidents import Incident
from pipeline.report.intake import LaterFiles, Reason
from pipeline.report.popularity import Churn, Popularity
from pipeline.report.robots import Robots
from pipeline.report.sessions import DwellTimes, Repeats, SessionLengths, SessionTimes

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup


@dataclass(frozen=True)
class ExtraSections:
    """Sections that whoever asks for the report adds above those about data.

    ``html`` goes in as it is, so every value in it is escaped already.  ``contents`` holds the id
    and the title of each section that the page's list of contents names.
    """

    heading: str
    html: Markup
    lights: Sequence[StatusLight] = ()
    contents: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class ReportFacts:
    """Everything the report shows; what is left out is said to be missing.

    ``hours`` is the frame of :func:`pipeline.report.intake.hour_table`; ``filter_steps`` are the
    ``steps`` of a data set's manifest.
    ``validated`` of ``to_validate`` hours have a verdict; ``unexplained`` are those that broke a
    promise which ``failures`` do not hold.  ``still_open`` counts the sessions that were open at
    the end of the hours; None where that is not known.  ``dataset_failed`` are the promises that
    the last data set broke.
    """

    title: str
    generated_for: str
    lights: Sequence[StatusLight] = ()
    failures: Sequence[Failure] = ()
    validated: int = 0
    to_validate: int = 0
    unexplained: Sequence[Hour] = ()
    incidents: Sequence[Incident] = ()
    hours: pd.DataFrame | None = None
    later: LaterFiles = field(default_factory=LaterFiles)
    still_open: int | None = None
    reasons: Sequence[Reason] = ()
    dwell: DwellTimes | None = None
    lengths: SessionLengths | None = None
    times: SessionTimes | None = None
    repeats: Repeats | None = None
    robots: Robots | None = None
    popularity: Popularity | None = None
    churn: Churn | None = None
    drift: Comparison | None = None
    dataset_failed: Sequence[str] = ()
    filter_steps: Sequence[Mapping[str, Any]] = ()
    links: Sequence[Link] = ()
    extra: ExtraSections | None = None
