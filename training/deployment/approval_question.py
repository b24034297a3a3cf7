"""What a person is asked before a promotion, short enough to be read in ten seconds (Markdown)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipeline.text.wording import counted
from training.deployment.approval import deadline
from training.evaluation.evaluate import read_evaluation
from training.gate.decision_file import DecisionRecord
from training.registry.champion_record import history

_MOST_SLICES = 3
_METRICS = {"mrr": "MRR", "ndcg": "NDCG", "recall": "Recall"}


def question_about(decision: DecisionRecord) -> str:
    """What a person is asked about a decision, by what lies beside it.

    Raises:
        HourglassError: the decision does not say when it was made.
    """
    content, records = decision.record.content, decision.record.folder
    champion = content.get("champion")
    changes = history(records, champion and champion.get("live_record"))
    live_since = next((change.at for _, change in changes), None)
    try:
        evaluation = read_evaluation(records.parent / "evaluations" / content["evaluation_id"])
    except (OSError, ValueError, KeyError, TypeError):
        # The question is asked without what only that tells.
        return approval_question(decision, live_since, {})
    shares = {model_id: figures.coverage for model_id, figures in evaluation.lists.items()}
    return approval_question(decision, live_since, shares)


def approval_question(
    decision: DecisionRecord, live_since: str | None, coverage: Mapping[str, float]
) -> str:
    """A table: what is live, what wants in, by how much, for whom, and what silence means.

    Args:
        decision: of the gate, to promote, which asks for a person.
        live_since: when what is live became so, in ISO 8601; None where that is not known.
        coverage: share of all items that a model's lists showed, by its id.

    Raises:
        HourglassError: the decision does not say when it was made.
    """
    content = decision.record.content
    numbers = {check["name"]: check["numbers"] for check in content["checks"]}
    candidate, champion = content["candidate"], content["champion"]
    rows = [
        ("Live now", _live(champion, live_since)),
        ("Wants in", f"**{_cell(candidate['model_id'])}**, learned until {candidate['as_of']}"),
    ]
    over_champion = _gain(numbers.get("beats_champion", {}))
    if champion is not None:
        rows.append(("Against it", over_champion))
    for name, system, over_baseline in _over_baselines(content, numbers.get("beats_floor", {})):
        # While the baseline itself is live, that is the same comparison.
        if champion is None or (champion["system"], over_champion) != (system, over_baseline):
            rows.append((f"Against {_cell(name)}", over_baseline))
    rows += [
        ("Judged on", _sample(numbers.get("sample_size", {}), content)),
        ("Parts of users and items", _slices(content["slices"])),
        ("Items shown", _items_shown(candidate, champion, coverage)),
        ("Without an answer", f"by **{_minute(deadline(decision))}** nothing changes"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)])


def _live(champion: Mapping[str, Any] | None, since: str | None) -> str:
    if champion is None:
        return "nothing"
    known_since = f", since {_minute(datetime.fromisoformat(since))}" if since else ""
    return f"{_cell(champion['model_id'])}{known_since}, learned until {champion['as_of']}"


def _over_baselines(
    content: Mapping[str, Any], numbers: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    """What each baseline is called, its system, and by how much the candidate is better."""
    if "floors" not in content:
        system = content["floor"]["system"]
        return [(system, system, _gain(numbers))]
    of_each = numbers.get("baselines", {})
    return [
        (name, floor["system"], _gain(of_each.get(name, {})))
        for name, floor in sorted(content["floors"].items())
    ]


def _gain(numbers: Mapping[str, Any]) -> str:
    """The difference over all looks that count, with the least that is proven and the interval."""
    mean = numbers.get("mean")
    if mean is None:
        return "not compared"
    fixed, look = numbers.get("fixed_sample") or {}, numbers.get("this_look") or {}
    limits = ""
    if None not in (lower := fixed.get("lower"), upper := fixed.get("upper")):
        limits = f" [{lower:+.4f}, {upper:+.4f}]"
    text = f"{_metric(numbers['metric'])} **{mean:+.4f}**{limits}"
    if look:
        text += f"; in this hour {look['other']['mean']:.4f} → {look['candidate']['mean']:.4f}"
    return text


def _metric(name: str) -> str:
    kind, at, k = name.partition("@")
    return f"{_METRICS.get(kind, kind)}{at}{k}"


def _sample(numbers: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    looks = counted(len(content["earlier_looks"]) + 1, "hour")
    if not numbers:
        return looks
    users, events = counted(numbers["n_users"], "user"), counted(numbers["n_targets"], "event")
    return f"{users}, {events}, {looks}"


def _slices(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """How many are shown harmless, and where the candidate is furthest behind."""
    if not figures:
        return "no other model to compare with"
    harmless = sum(figure["verdict"] == "harmless" for figure in figures.values())
    small = sum(figure["verdict"] == "too_small" for figure in figures.values())
    text = f"{harmless} of {len(figures)} shown harmless, {small} too small to tell"
    behind = sorted(
        (figure["difference"]["mean"], name)
        for name, figure in figures.items()
        if (figure["difference"]["mean"] or 0) < 0
    )
    if behind:
        worst = ", ".join(f"{_cell(name)} {mean:+.4f}" for mean, name in behind[:_MOST_SLICES])
        text += f"; behind on {worst}"
    return text


def _items_shown(
    candidate: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    coverage: Mapping[str, float],
) -> str:
    models = [model["model_id"] for model in (champion, candidate) if model is not None]
    shares = [coverage[model_id] for model_id in models if model_id in coverage]
    if len(shares) < len(models):
        return "not measured"
    return " → ".join(f"{share:.1%}" for share in shares) + " of all items"


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _cell(text: str) -> str:
    """A name as a cell of a table holds it."""
    return text.replace("|", "\\|").replace("\n", " ")
