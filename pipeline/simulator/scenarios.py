"""Named faults of a log, and whether and how gravely validation must catch each.

A scenario lasts for some hours of the simulated world; what it does in them is in
:mod:`pipeline.simulator.incidents`.  Everything before its first hour is as without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import UsageError
from pipeline.hours import Hour, HourRange
from pipeline.settings.simulator import ScenarioName, SimulatorSettings

Alarm = Literal["quiet", "warning", "critical"]
FLOOD_ROBOTS = 30


@dataclass(frozen=True)
class Scenario:
    """One kind of trouble, or of what only looks like it.

    ``catch`` is the least that validation must raise.  ``at_most`` is the gravest that it may
    raise; for a quiet scenario that is what quiet hours raise as well.
    """

    name: ScenarioName
    happens: str
    catch: Alarm
    at_most: Alarm
    because: str


def _critical(name: ScenarioName, happens: str, because: str) -> Scenario:
    return Scenario(name, happens, "critical", "critical", because)


def _warning(name: ScenarioName, happens: str, because: str) -> Scenario:
    return Scenario(name, happens, "warning", "warning", because)


def _harmless(name: ScenarioName, happens: str, because: str) -> Scenario:
    return Scenario(name, happens, "quiet", "quiet", because)


_ALL = (
    _critical(
        "missing_field",
        "a release of the tracker loses `user` in 30 % of the records",
        "Almost a third of the clicks are refused, and what is left is no fair sample.",
    ),
    _warning(
        "missing_context",
        "the tracker stops sending `device`",
        "Device is optional: the clicks themselves are whole, but someone should know.",
    ),
    _critical(
        "wrong_unit",
        "`load_s` arrives in milliseconds",
        "Values a thousand times too large are accepted, and stay until the hours are redone.",
    ),
    _critical(
        "wrong_time_unit",
        "`ts` arrives as epoch milliseconds where ISO text is expected",
        "Every record is refused: there is nothing to learn from.",
    ),
    _critical(
        "shifted_clock",
        "the clock of one of two producers is 3 hours behind",
        "Half of the clicks are filed under hours in which they did not happen.",
    ),
    _critical(
        "fast_clock",
        "the clock of one of two producers is 3 hours ahead",
        "Half of the clicks claim to be from the future and are refused.",
    ),
    _warning(
        "doubled_batch",
        "each file is delivered again under another name one hour later",
        "The copies are taken out, so the events stay right, but the delivery is broken.",
    ),
    _critical(
        "stuck_producer",
        "the producer stops at minute 20, and all that it held comes at once at the end",
        "Hours without clicks would judge and train models before the rest has come.",
    ),
    _critical(
        "repeating_producer",
        "a producer sends its last record again and again with new ids and new times",
        "A click that happened once makes a third of the events and of their popularity.",
    ),
    _critical(
        "bot_flood",
        "30 robots make twice the usual traffic on 5 items",
        "Two events in three are not people's, and five items would be recommended to all.",
    ),
    _critical(
        "silent_drop",
        "half of the users' records are lost for good",
        "Half of the people vanish without any record being refused.",
    ),
    _warning(
        "new_event_type",
        "one click in ten is of the type `share`, never seen before",
        "The events are sound, but nobody has said yet what the new type means.",
    ),
    _harmless(
        "real_spike",
        "news breaks: one item takes 35 % of half as many clicks again, of many users",
        "Many different people read one article: this is what a news site is for.",
    ),
    _harmless(
        "real_night",
        "a quiet holiday: 20 % fewer sessions",
        "People read a little less: ordinary days differ as much.",
    ),
    _warning(
        "late_delivery",
        "15 % of the records come one to three hours late",
        "Nothing is lost and late records find their hours, so it must not stop the loop.",
    ),
)
SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in _ALL}


def scenario_hours(settings: SimulatorSettings) -> HourRange | None:
    """The hours of the fault; None where no scenario is set.

    Raises:
        UsageError: it has no first hour, or begins before the simulated world.
    """
    if settings.scenario is None:
        return None
    if settings.scenario_from is None:
        raise UsageError(
            f"simulator.scenario = {settings.scenario} has no first hour: set "
            "simulator.scenario_from, or pass --scenario-from"
        )
    first = Hour.parse(settings.scenario_from)
    if first < Hour.parse(settings.start):
        raise UsageError(
            f"simulator.scenario_from = {first} is before the simulated world begins at "
            f"{settings.start} (simulator.start)"
        )
    return HourRange(first, first + settings.scenario_hours)


def robot_count(settings: SimulatorSettings) -> int:
    """How many robots there are, those of a flood included."""
    return settings.robots + (FLOOD_ROBOTS if settings.scenario == "bot_flood" else 0)
