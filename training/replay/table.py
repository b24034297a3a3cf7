"""What a replay came to: each arm's figures with intervals, what it cost, and the rows by step.

Shapes: n targets, A arms.  A target on an item that was first seen within its own step is a miss
for every arm; figures are given with those ("all") and without ("known").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.array_types import Bools, Ints, Ints32
from pipeline.errors import HourglassError
from pipeline.hours import HourRange
from pipeline.settings.learning import EvaluationSettings
from pipeline.text.wording import counted
from training.metrics.bootstrap import Interval, intervals
from training.metrics.metrics import METRICS, target_values
from training.replay.arms import Arm
from training.replay.cut import cut_lines
from training.replay.item_age import age_lines, by_age
from training.replay.roll import Run
from training.replay.store import StepRanks, StepResult, read_step

_COSTS = ("fit_s", "cut_s", "score_s", "learned_events")


@dataclass(frozen=True)
class Results:
    """All steps of all arms; the targets are the same for each."""

    names: tuple[str, ...]
    steps: tuple[HourRange, ...]
    by_arm: dict[str, list[StepResult]]

    @property
    def step(self) -> Ints:
        """Number of the step of each target, (n,)."""
        lengths = [len(result.ranks.user) for result in self.by_arm[self.names[0]]]
        return np.repeat(np.arange(len(lengths)), lengths)

    def column(self, name: str) -> NDArray[Any]:
        """A column of the targets, (n,)."""
        joined: NDArray[Any] = np.concatenate(
            [getattr(result.ranks, name) for result in self.by_arm[self.names[0]]]
        )
        return joined

    def rank(self, arm: str) -> Ints32:
        """Rank of each target by an arm, (n,)."""
        return np.concatenate([result.ranks.rank for result in self.by_arm[arm]])


def results_of(run: Run, arms: Sequence[Arm]) -> Results:
    """Read all steps.

    Raises:
        HourglassError: a step is missing or damaged, or two arms were asked different questions.
    """
    by_arm = {
        arm.name: [read_step(run.arm_folder(arm), hours.first) for hours in run.steps]
        for arm in arms
    }
    results = Results(tuple(by_arm), tuple(run.steps), by_arm)
    for name, steps in by_arm.items():
        for result, first, hours in zip(steps, by_arm[results.names[0]], run.steps, strict=True):
            if not _same_questions(result.ranks, first.ranks):
                raise HourglassError(
                    f"arms {results.names[0]!r} and {name!r} were asked differently in {hours}: "
                    "run `hourglass replay --fresh`"
                )
    return results


def _same_questions(first: StepRanks, other: StepRanks) -> bool:
    names = ("user", "time_us", "item", "known")
    return all(np.array_equal(getattr(first, name), getattr(other, name)) for name in names)


def table_of(
    results: Results,
    arms: Sequence[Arm],
    rule: EvaluationSettings,
    seed: int,
    unfinished: Sequence[str] = (),
) -> dict[str, Any]:
    """The table as plain values: figures, paired differences and costs of each arm.

    Intervals are of resampled users.  ``against`` is the arm that the others are compared with;
    ``knew`` the share of the targets that an arm had in its vocabulary; ``unfinished`` names the
    arms that are configured and have not been rolled to the end, so that the table lacks them.
    """
    is_known = results.column("known")
    reference = reference_arm(arms)
    rows = [_costs(arm, results.by_arm[arm.name]) for arm in arms]
    document: dict[str, Any] = {
        "hours": [str(results.steps[0].first), str(results.steps[-1].stop)],
        "steps": len(results.steps),
        "k": rule.k,
        "confidence": rule.confidence,
        "repeats": rule.repeats,
        "targets": rule.targets,
        "n_targets": len(is_known),
        "n_known": int(is_known.sum()),
        "n_users": len(np.unique(results.column("user"))),
        "against": reference,
        "unfinished": list(unfinished),
        "arms": rows,
    }
    for which, mask in (("all", np.ones(len(is_known), np.bool_)), ("known", is_known)):
        if not mask.any():
            continue
        figures, differences = _figures(results, mask, reference, rule, seed)
        for row in rows:
            row[which] = figures[row["arm"]]
            if row["arm"] != reference:
                row[f"{which}_difference"] = differences[row["arm"]]
    recalls = {name: target_values("recall", results.rank(name), rule.k) for name in results.names}
    document["by_age"] = by_age(results.column("item_age_us"), recalls)
    return document


def reference_arm(arms: Sequence[Arm]) -> str:
    """The first arm with a trend that is retrained; else the first with one, else the first."""
    trends = [
        arm
        for arm in arms
        if arm.model.system == "hrnn_trend" and arm.model.parameters.get("affinity", True)
    ]
    retrained = [arm for arm in trends if arm.settings.mode != "offline"]
    return [*retrained, *trends, *arms][0].name


def _figures(
    results: Results, mask: Bools, reference: str, rule: EvaluationSettings, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    values = {
        name: np.stack(
            [target_values(metric, results.rank(name)[mask], rule.k) for metric in METRICS], axis=1
        )
        for name in results.names
    }  # (n, metrics) by arm
    # Of the reference minus the other: above 0 speaks for the reference.
    differences = {name: values[reference] - others for name, others in values.items()}
    both = np.concatenate([*values.values(), *differences.values()], axis=1)
    estimates = intervals(
        both,
        results.column("user")[mask],
        samples=rule.bootstrap_samples,
        confidence=rule.confidence,
        seed=seed,
    )
    rows = [estimates[at : at + len(METRICS)] for at in range(0, len(estimates), len(METRICS))]
    n = len(values)
    return (
        dict(zip(values, map(_named, rows[:n]), strict=True)),
        dict(zip(values, map(_named, rows[n:]), strict=True)),
    )


def _named(row: Sequence[Interval]) -> dict[str, list[float | None]]:
    def plain(value: float) -> float | None:
        return round(value, 5) if np.isfinite(value) else None

    return {
        metric: [plain(interval.mean), plain(interval.lower), plain(interval.upper)]
        for metric, interval in zip(METRICS, row, strict=True)
    }


def _costs(arm: Arm, steps: Sequence[StepResult]) -> dict[str, Any]:
    n_targets = sum(len(result.ranks.rank) for result in steps)
    facts = [result.facts for result in steps]
    costs = {name: sum(fact[name] for fact in facts) for name in _COSTS}
    return {
        "arm": arm.name,
        "system": arm.model.system,
        "mode": arm.settings.mode,
        "fits": sum(fact["fitted"] for fact in facts),
        "knew": round(sum(fact["n_targets_it_knows"] for fact in facts) / max(1, n_targets), 5),
        **{name: round(value, 3) for name, value in costs.items()},
        "seconds_per_step": round(
            (costs["fit_s"] + costs["cut_s"] + costs["score_s"]) / len(facts), 4
        ),
    }


def step_rows(results: Results, rule: EvaluationSettings) -> dict[str, list[Any]]:
    """One row per step and arm, as columns."""
    rows: dict[str, list[Any]] = {}
    for name in results.names:
        for hours, result in zip(results.steps, results.by_arm[name], strict=True):
            ranks, facts = result.ranks, result.facts
            row: dict[str, Any] = {
                "step": hours.first.start,
                "step_hours": len(hours),
                "arm": name,
                "n_targets": len(ranks.rank),
                "n_known": int(ranks.known.sum()),
            }
            for which, rank in (("all", ranks.rank), ("known", ranks.rank[ranks.known])):
                for metric in METRICS:
                    values = target_values(metric, rank, rule.k)
                    row[f"{metric}_{which}"] = float(values.mean()) if len(values) else None
            row |= {key: facts[key] for key in ("fitted", *_COSTS, "n_items", "model_as_of")}
            for key, value in row.items():
                rows.setdefault(key, []).append(value)
    return rows


def markdown(table: dict[str, Any]) -> str:
    """The table for people."""
    k = table["k"]
    new = table["n_targets"] - table["n_known"]
    lines = [
        f"# Replay of {table['hours'][0]} to {table['hours'][1]}, "
        f"{counted(table['steps'], 'step')}",
        "",
        f"{counted(table['n_targets'], 'target')} ({table['targets']}, repeats "
        f"{table['repeats']}) of {counted(table['n_users'], 'user')}; {new:,} of them "
        f"are on items first seen within their own step, which no arm can know.  "
        f"{table['confidence']:.0%} intervals, users resampled.",
        "",
    ]
    lines += cut_lines(table)
    if table["unfinished"]:
        lines += [f"Not all arms: {', '.join(table['unfinished'])} not rolled to the end.", ""]
    for which, title in (
        ("all", "All events; an item that an arm does not know is a miss"),
        ("known", "Events on items seen before their step"),
    ):
        lines += [f"## {title}", ""]
        lines += [
            f"| arm | Recall@{k} | MRR@{k} | NDCG@{k} | {table['against']} minus it, Recall@{k} "
            f"| the same, MRR@{k} |" + (" targets it knew |" if which == "all" else ""),
            "|---|---|---|---|---|---|" + ("---|" if which == "all" else ""),
        ]
        for row in table["arms"]:
            figures, difference = row.get(which), row.get(f"{which}_difference")
            if figures is None:
                continue
            cells = [_cell(figures[metric]) for metric in METRICS]
            cells += [_cell(difference[m], "+") if difference else "" for m in METRICS[:2]]
            cells += [f"{row['knew']:.1%}"] if which == "all" else []
            lines.append(f"| {row['arm']} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += age_lines(table["by_age"], [row["arm"] for row in table["arms"]], k)
    lines += [
        "## Cost",
        "",
        "| arm | mode | fits | fit, s | cut, s | scoring, s | events learned | s a step |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['arm']} | {row['mode']} | {row['fits']} | {row['fit_s']:.1f} | {row['cut_s']:.1f} "
        f"| {row['score_s']:.1f} | {row['learned_events']:,} | {row['seconds_per_step']:.2f} |"
        for row in table["arms"]
    ]
    return "\n".join(lines) + "\n"


def _cell(interval: list[float | None], sign: str = "") -> str:
    mean, lower, upper = interval
    if lower is None or upper is None:
        return f"{mean:{sign}.4f}"
    return f"{mean:{sign}.4f} [{lower:{sign}.4f}, {upper:{sign}.4f}]"
