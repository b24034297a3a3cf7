"""Judging a data set before any model learns from it."""

from __future__ import annotations

import json
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from pipeline.dataset.by_time import datasets_by_time
from pipeline.dataset.manifest import MANIFEST_NAME, Manifest, read_manifest
from pipeline.errors import HourglassError
from pipeline.files import write_text
from pipeline.hours import HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.tables import ITEM_HOURS
from pipeline.quality.checks.expectations import validate_frame
from pipeline.quality.checks.suite import load_suite, suite_values
from pipeline.settings.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.quality.checks.results import ValidationResult

SUITE = "datasets"
_VERDICT = "quality.json"
_NAN = float("nan")
_LATEST_H = 24


def validate_dataset(lake: Lake, settings: Settings, folder: Path) -> ValidationResult:
    """Hold a data set to its expectations; the verdict is kept in its folder.

    Raises:
        UsageError: the suite ``datasets`` cannot be read.
    """
    import pandas as pd

    manifest = read_manifest(folder)
    as_of = manifest.as_of
    latest = lake.arrow(
        ITEM_HOURS, HourRange(as_of - _LATEST_H, as_of), columns=("item_id", "events")
    )
    before = _dataset_before(folder, manifest)
    facts = dataset_facts(
        manifest,
        _vocabulary(folder),
        latest,
        None if before is None else _vocabulary(before),
    )
    suite = load_suite(SUITE, suite_values(as_of, settings), settings.quality.suites)
    site, keep = settings.path("data_docs"), settings.quality.keep
    frame = pd.DataFrame([facts])
    outcome = validate_frame(suite, frame, f"{as_of}-{folder.name}", site, keep)
    broken = [result for result in outcome.results if not result.success]
    # Whoever is refused is told the first.
    broken.sort(key=lambda result: result.severity != "critical")
    failed = [result.sentence for result in broken]
    finite = {name: value for name, value in facts.items() if not isnan(value)}
    verdict = {"verdict": outcome.verdict, "failed": failed, "facts": finite}
    write_text(folder / _VERDICT, json.dumps(verdict, indent=1) + "\n")
    return outcome


def dataset_facts(
    manifest: Manifest,
    vocabulary: pa.Array,
    latest: pa.Table,
    vocabulary_before: pa.Array | None,
) -> dict[str, float]:
    """Facts about a data set.

    Args:
        manifest: the data set's; its ``steps`` count what the support filter left.
        vocabulary: item ids. (I,)
        latest: ``item_hours`` of the last hours before the data set's time.
        vocabulary_before: item ids of the data set before; None for the first.

    Returns:
        targets, items, users; kept_event_share and kept_item_share, of those of the window;
        vocabulary_ratio and new_item_share, against the data set before; unseen_share, of the
        latest events, those on items that are not in the vocabulary.  NaN where unknown.
    """
    first, last = manifest.steps[0], manifest.steps[-1]
    in_vocabulary = latest.filter(pc.is_in(latest["item_id"], value_set=vocabulary))
    events, known_events = (
        pc.sum(table["events"]).as_py() or 0 for table in (latest, in_vocabulary)
    )
    ratio = new_share = _NAN
    if vocabulary_before is not None and len(vocabulary_before):
        ratio = len(vocabulary) / len(vocabulary_before)
        old = pc.sum(pc.is_in(vocabulary, value_set=vocabulary_before)).as_py() or 0
        new_share = 1 - old / len(vocabulary)
    return {
        "targets": manifest.n_targets,
        "items": manifest.n_items,
        "users": manifest.n_users,
        "kept_event_share": last.events / first.events if first.events else _NAN,
        "kept_item_share": last.items / first.items if first.items else _NAN,
        "vocabulary_ratio": ratio,
        "new_item_share": new_share,
        "unseen_share": 1 - known_events / events if events else _NAN,
    }


def dataset_verdict(folder: Path) -> tuple[str | None, tuple[str, ...]]:
    """What was said of a data set, and why; None where it was never judged."""
    try:
        recorded = json.loads((folder / _VERDICT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, ()
    except (OSError, ValueError) as error:
        raise HourglassError(f"{folder / _VERDICT}: cannot be read: {error}") from error
    return recorded["verdict"], tuple(recorded["failed"])


def refuse_critical_dataset(folder: Path) -> None:
    """Let a data set pass that was judged and is not critical.

    Raises:
        HourglassError: it is, and why; or nobody has judged it.
    """
    verdict, failed = dataset_verdict(folder)
    if verdict is None:
        raise HourglassError(
            f"data set {folder.name} was never judged: run `hourglass dataset` for its time again"
        )
    if verdict == "critical":
        raise HourglassError(f"data set {folder.name} failed a critical expectation: {failed[0]}")


def _dataset_before(folder: Path, manifest: Manifest) -> Path | None:
    """The data set of the latest time before this one's that was made alike and not refused."""
    for hour, name in datasets_by_time(folder.parent):
        other = folder.parent / name
        if hour >= str(manifest.as_of) or not (other / MANIFEST_NAME).is_file():
            continue
        earlier = read_manifest(other)
        alike = (earlier.window_h, earlier.config_digest) == (
            manifest.window_h,
            manifest.config_digest,
        )
        if alike and dataset_verdict(other)[0] != "critical":
            return other
    return None


def _vocabulary(folder: Path) -> pa.Array:
    import pyarrow.parquet as pq

    items = pq.read_table(folder / "vocabulary.parquet", columns=["item_id"])["item_id"]
    return items.combine_chunks()
