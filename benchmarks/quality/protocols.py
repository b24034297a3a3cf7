"""The protocols by name: which data, which systems, and what is compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.quality import cold, logs, ranking, rating, trends, tuned
from benchmarks.quality.figures import Runs, Table
from benchmarks.quality.parts import US_PER_HOUR, Parts, parts_of, split_by_time
from benchmarks.quality.progress import Say
from benchmarks.quality.ranking import Entry, rule
from pipeline.hours import Hour

SHARE = 0.8
# Logs whose users do not act again on the item just seen, or where that is another kind of event.
NO_REPEATS = ("deskdrop", "movielens-100k")
# Deskdrop's support is thin: its articles live for days.
_MIN_ITEM_EVENTS = {"deskdrop": 2, "wikipedia": 5, "movielens-100k": 5}
# None of the sessions that the files of yoochoose name is silent for two hours.
_YOOCHOOSE_GAP_S = 7200


@dataclass(frozen=True)
class Asked:
    """What a run is told."""

    raw: Path
    seeds: Sequence[int]
    say: Say
    logs: Sequence[str] = ()  # of a protocol on several logs: only these; none: all

    def of(self, found: dict[str, list[Entry]]) -> dict[str, list[Entry]]:
        """The entries of the logs that were asked for."""
        return {name: entries for name, entries in found.items() if name in (self.logs or found)}


def sampled(asked: Asked) -> list[Table]:
    """A: a sampled softmax and one over all items come to the same."""
    found = asked.of(tuned.sampled())
    return [_ranked(asked, f"sampled against dense, {name}", name, found[name]) for name in found]


def timed(asked: Asked) -> list[Table]:
    """B: HRNN with its time inputs against the same GRU without."""
    found = asked.of(tuned.timed())
    return [_ranked(asked, f"time inputs, {name}", name, found[name]) for name in found]


def yoochoose(asked: Asked) -> list[Table]:
    """C: the train file of yoochoose -> its test file, with and without immediate repeats."""
    return [_ranked(asked, "train file -> test file, yoochoose", "yoochoose", tuned.yoochoose())]


def cold_items(asked: Asked) -> list[Table]:
    """D: items that nobody has met yet."""
    films, entries = logs.film_log(asked.raw), tuned.cold()
    tables = []
    for share in (None, SHARE):
        runs, sizes = cold.compared(films, entries, asked.seeds, share, asked.say)
        when = "all of the time" if share is None else f"T after {share:.0%} of the events"
        pairs = [(entries[0].name, name) for name in [*cold.BASELINES, entries[1].name]]
        title = f"held-out items, movielens-100k, {when}"
        tables.append(Table(title, _LISTED, runs, pairs, sizes))
    return tables


def ratings(asked: Asked) -> list[Table]:
    """E: the rating of the next film."""
    films, entries = logs.film_log(asked.raw), tuned.ratings()
    parts = split_by_time(films.log, SHARE, 1, films.items, films.users)
    runs, sizes = rating.compared(parts, entries, asked.seeds, asked.say)
    pairs = [(entries[0].name, name) for name in (entries[1].name, "rolling_average")]
    note = f"T after {SHARE:.0%} of the events; averages roll on after T, models stay as fitted"
    sizes = {**parts.said, **sizes}
    return [Table("rating of the next film, movielens-100k", note, runs, pairs, sizes)]


def trend(asked: Asked) -> list[Table]:
    """F: taste apart from exposure, where the truth is known."""
    entries = tuned.trends()
    runs, sizes = trends.compared(entries, asked.seeds, asked.say)
    pairs = [(entries[0].name, other.name) for other in entries[1:]]
    note = "correlation with the truth over (user, item) pairs, each user's level taken out"
    return [Table("taste and exposure, simulated site", note, runs, pairs, sizes)]


PROTOCOLS: dict[str, Callable[[Asked], list[Table]]] = {
    "sampled": sampled,
    "time": timed,
    "yoochoose": yoochoose,
    "cold": cold_items,
    "ratings": ratings,
    "trend": trend,
}

_RANKED = (
    "all items ranked, ties against the model; targets that repeat the item just seen kept or "
    "dropped; mean over seeds ± half of the 95 % interval (t)"
)
_LISTED = (
    "one list a user of held-out items only, scored by the mean chance to come next over the "
    "user's events on the other items, or after the last of them; each seed holds out other items"
)


def _ranked(asked: Asked, title: str, name: str, entries: Sequence[Entry]) -> Table:
    """Popularity, neighbours and the entries on one log; the first is compared with the others.

    Where repeats are usual the figures with them come first, then those without.
    """
    parts = parts_of_log(asked.raw, name)
    within = name == "yoochoose"
    repeats: list[Literal["keep", "drop"]] = ["drop"] if name in NO_REPEATS else ["keep", "drop"]
    systems = [*tuned.popularity(), *tuned.neighbours(repeats=len(repeats) > 1), *entries]
    tables = ranking.compared(
        parts, systems, asked.seeds, [rule(one, within) for one in repeats], asked.say
    )
    runs = {system: Runs([{} for _ in found.rows]) for system, found in tables[0].items()}
    for one, table in zip(repeats, tables, strict=True):
        told = "" if len(repeats) == 1 else f" {one}"
        for system, found in table.items():
            for row, more in zip(runs[system].rows, found.rows, strict=True):
                row.update({f"{metric}{told}": value for metric, value in more.items()})
    pairs = [(entries[0].name, other.name) for other in entries[1:]]
    return Table(title, _RANKED, runs, pairs, parts.said)


def parts_of_log(raw: Path, name: str) -> Parts:
    """What is learned from and what is asked, of a log by its name."""
    if name == "yoochoose":
        learned, asked = logs.yoochoose(raw)
        begins = Hour(int(asked.time_us.min()) // US_PER_HOUR)
        return parts_of(learned, asked, begins, gap_s=_YOOCHOOSE_GAP_S)
    return split_by_time(logs.LOGS[name](raw), SHARE, _MIN_ITEM_EVENTS[name])
