"""Ranks that a model gave to the targets of one frozen test set, and what they add up to.

Shapes: ``n`` targets.  Files lie at ``<evaluations>/<frozen_id>/<model_id>.parquet``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.array_types import Bools, Ints, Ints32
from pipeline.errors import HourglassError
from pipeline.files import written_whole
from pipeline.settings.learning import EvaluationSettings
from pipeline.text.wording import counted
from training.metrics.bootstrap import intervals
from training.metrics.metrics import METRICS, Metric, target_values

_COLUMNS: dict[str, type[np.generic]] = {
    "user": np.int32,
    "position": np.int64,
    "session": np.int64,
    "time_us": np.int64,
    "item": np.int32,
    "rank": np.int32,
}
_FORMAT = "2"
_META = ("model_id", "frozen_id", "rule")
_CARD = "card_sha256"


@dataclass(frozen=True)
class Ranks:
    """One row per target, ordered by position."""

    model_id: str
    frozen_id: str
    rule: str  # which events are targets, see rule_key
    user: Ints32  # (n,) row of the frozen part
    position: Ints  # (n,) flat event position in the frozen part
    session: Ints  # (n,) session ordinal in the frozen part
    time_us: Ints  # (n,)
    item: Ints32  # (n,) 1-based target
    rank: Ints32  # (n,) 1-based
    card_sha256: str | None = None  # of the artefact that was asked

    @property
    def n_targets(self) -> int:
        """Number of targets."""
        return int(self.rank.shape[0])

    @property
    def n_users(self) -> int:
        """Number of users with a target."""
        return int(np.unique(self.user).shape[0])


@dataclass(frozen=True)
class SummaryRow:
    """One model's metric over all targets, or over a slice of them."""

    model_id: str
    metric: Metric
    k: int
    slice_name: str  # "all" or the name of a mask
    mean: float
    lower: float
    upper: float
    n_targets: int
    n_users: int


def rule_key(rule: EvaluationSettings) -> str:
    """The part of the rule that decides which events are targets."""
    sample = "" if rule.max_users is None else f" max_users={rule.max_users}"
    return f"repeats={rule.repeats} targets={rule.targets}{sample}"


def write_ranks(ranks: Ranks, evaluations: Path) -> Path:
    """Write the ranks whole or not at all, replacing earlier ones of the same model.

    Returns:
        ``<evaluations>/<frozen_id>/<model_id>.parquet``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = ranks_path(evaluations, ranks.frozen_id, ranks.model_id)
    meta = {"format": _FORMAT} | {name: getattr(ranks, name) for name in _META}
    meta |= {_CARD: ranks.card_sha256} if ranks.card_sha256 else {}
    table = pa.table({name: getattr(ranks, name) for name in _COLUMNS})
    table = table.replace_schema_metadata(meta)
    return written_whole(path, lambda unfinished: pq.write_table(table, unfinished))


def ranks_path(evaluations: Path, frozen_id: str, model_id: str) -> Path:
    """Where the ranks of a model on a frozen part lie."""
    return evaluations / frozen_id / f"{model_id}.parquet"


def read_ranks(path: Path) -> Ranks:
    """Read what :func:`write_ranks` wrote.

    Raises:
        HourglassError: the file is missing, damaged, or of another format.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise HourglassError(f"{path}: no ranks of this model: run hourglass evaluate")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise HourglassError(
            f"{path}: the ranks cannot be read: run hourglass evaluate again"
        ) from error
    meta = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    if (
        meta.get("format") != _FORMAT
        or not set(_META) <= set(meta)
        or table.column_names != list(_COLUMNS)
    ):
        raise HourglassError(
            f"{path}: not a file of ranks of format {_FORMAT}: run hourglass evaluate again"
        )
    columns: dict[str, Any] = {
        name: table.column(name).to_numpy().astype(dtype, copy=False)
        for name, dtype in _COLUMNS.items()
    }
    return Ranks(**{name: meta[name] for name in _META}, **columns, card_sha256=meta.get(_CARD))


def check_same_targets(ranks: Mapping[str, Ranks]) -> None:
    """Refuse to compare models that were not asked the same questions.

    Raises:
        HourglassError: two models differ in frozen part, rule, or any (user, position, item).
    """
    named = list(ranks.items())
    for other_name, other in named[1:]:
        first_name, first = named[0]
        for field in ("frozen_id", "rule"):
            if getattr(first, field) != getattr(other, field):
                raise HourglassError(
                    f"{first_name} and {other_name} differ in {field} "
                    f"({getattr(first, field)!r}, {getattr(other, field)!r}): "
                    "evaluate both on the same frozen events"
                )
        if first.n_targets != other.n_targets:
            raise HourglassError(
                f"{first_name} has {counted(first.n_targets, 'target')} and {other_name} has "
                f"{other.n_targets}: evaluate both on the same frozen events"
            )
        for field in ("user", "position", "item", "session", "time_us"):
            differing = np.flatnonzero(getattr(first, field) != getattr(other, field))
            if differing.size:
                raise HourglassError(
                    f"{first_name} and {other_name} differ in the {field} of target "
                    f"{differing[0]}: evaluate both on the same frozen events"
                )


def summary(
    ranks: Mapping[str, Ranks],
    rule: EvaluationSettings,
    seed: int,
    masks: Mapping[str, Bools] | None = None,
) -> list[SummaryRow]:
    """Every metric of every model with its interval, over all targets and over each mask.

    All models share the resampled users, so the figures can be compared within a slice.

    Args:
        ranks: by name; the names go into the rows.
        rule: k, number of resamples and confidence.
        seed: of the resamples.
        masks: (n,) targets of each slice; without a target there is no row.

    Raises:
        HourglassError: the models have different targets.
    """
    check_same_targets(ranks)
    first_ranks = next(iter(ranks.values()), None)
    if first_ranks is None:
        return []
    labels = [(name, metric) for name in ranks for metric in METRICS]
    values = np.stack(
        [target_values(metric, ranks[name].rank, rule.k) for name, metric in labels], axis=1
    )  # (n, models x metrics)
    rows: list[SummaryRow] = []
    everything = np.ones(first_ranks.n_targets, dtype=bool)
    for slice_name, mask in {"all": everything, **(masks or {})}.items():
        if not mask.any():
            continue
        user = first_ranks.user[mask]
        results = intervals(
            values[mask],
            user,
            samples=rule.bootstrap_samples,
            confidence=rule.confidence,
            seed=seed,
        )
        rows += [
            SummaryRow(
                model_id=name,
                metric=metric,
                k=rule.k,
                slice_name=slice_name,
                mean=interval.mean,
                lower=interval.lower,
                upper=interval.upper,
                n_targets=int(mask.sum()),
                n_users=int(np.unique(user).shape[0]),
            )
            for (name, metric), interval in zip(labels, results, strict=True)
        ]
    return rows
