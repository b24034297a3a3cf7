"""A news site whose truth is known: tastes, item lives, sessions, and the faults of its logs."""

from __future__ import annotations

from pipeline.simulator.scenarios import SCENARIOS, Scenario
from pipeline.simulator.writer import SimulationSummary, simulate

__all__ = ["SCENARIOS", "Scenario", "SimulationSummary", "simulate"]
