"""The simulated site."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.settings.field_types import Fraction
from pipeline.settings.section import Section

ScenarioName = Literal[
    "missing_field",
    "missing_context",
    "wrong_unit",
    "wrong_time_unit",
    "shifted_clock",
    "fast_clock",
    "doubled_batch",
    "stuck_producer",
    "repeating_producer",
    "bot_flood",
    "silent_drop",
    "new_event_type",
    "real_spike",
    "real_night",
    "late_delivery",
]


class SimulatorSettings(Section):
    """The simulated news site, whose truth is known (``hourglass simulate``)."""

    seed: int = Field(0, ge=0, description="the same seed writes the same logs")
    start: str = Field("2026-01-05T00", description="first hour of the simulated world")
    hours: int = Field(72, ge=1, description="how many, from start")
    users: int = Field(4000, ge=1, description="readers of the site")
    sessions_per_day: float = Field(1.3, gt=0, description="of a user, on average")
    session_events: float = Field(4.5, ge=1, description="of a session, on average")
    binge_share: Fraction = Field(0.1, description="users whose sessions are longer")
    binge_factor: float = Field(3.0, ge=1, description="how much longer")
    items_per_day: int = Field(150, ge=1, description="new articles")
    item_peak_h: float = Field(4.0, gt=0, description="median age at the height of attention")
    topics: int = Field(8, ge=1, description="of the articles")
    taste_dims: int = Field(8, ge=2, description="length of the vectors of tastes and articles")
    taste_strength: float = Field(2.0, ge=0, description="weight of a user's taste in a choice")
    session_strength: float = Field(2.0, ge=0, description="weight of the session's topic")
    exposure_strength: float = Field(0.8, ge=0, description="choice falls as rank ** -this")
    popularity_feedback: float = Field(1.0, ge=0, description="how clicks lift the front page")
    related_share: Fraction = Field(0.4, description="clicks that follow the running story")
    dwell_shape: float = Field(1.5, gt=0, description="of the gamma law of reading times")
    dwell_scale_s: float = Field(60.0, gt=0, le=300, description="its scale")
    late_rate: Fraction = Field(0.02, description="records that arrive hours late")
    late_max_h: int = Field(6, ge=1, description="at most this late")
    duplicate_rate: Fraction = Field(0.01, description="records that are written twice")
    malformed_rate: Fraction = Field(0.005, description="records that are damaged")
    robot_rate: Fraction = Field(0.02, description="share of the clicks that robots make")
    robots: int = Field(2, ge=1, description="how many they are")
    files_per_hour: int = Field(1, ge=1, le=99, description="files among which an hour is dealt")
    scenario: ScenarioName | None = Field(None, description="what goes wrong, or only seems to")
    scenario_from: str | None = Field(None, description="its first hour, like 2026-01-20T12")
    scenario_hours: int = Field(6, ge=1, description="how long it lasts")
