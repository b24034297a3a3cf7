"""What looking at the past costs an hour, in CPU time, by how many hours lie behind it.

Run as ``python -m benchmarks.record_growth --hours 10,1000,10000``; ``benchmarks/README.md`` says
what is measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from benchmarks.recommend import cpu_name
from pipeline.dataset.by_time import dataset_folder
from pipeline.hours import Hour, HourRange
from pipeline.settings.settings import Settings
from training.deployment.champion_history import champion_during, champion_periods
from training.deployment.monitor_record import monitor_results_between
from training.fit.model_lines import latest_model_of
from training.gate.judged_hours import judged_hours
from training.gate.past_looks import Look, LookKey, earlier_looks
from training.gate.sequential_test import Sums
from training.registry.mlflow_registry import Registry
from training.registry.record_chain import JOURNAL, chain_problem, link_record, verified_chain

FIRST = Hour.parse("2024-12-30T00")  # a Monday
PERIOD_H = 168
PROMOTED_EVERY_H = 6
THERE_H = 168  # data sets and models that upkeep leaves
LINE = "hrnn"


@dataclass
class MlflowInMemory:
    """What the chain of records and the history of the champion ask of MLflow."""

    tags: dict[str, str] = field(default_factory=dict)
    live: tuple[str, str, str] | None = None  # version, model id, record

    def get_registered_model(self, _: str) -> SimpleNamespace:
        return SimpleNamespace(tags=self.tags)

    def create_registered_model(self, _: str) -> None: ...

    def set_registered_model_tag(self, _: str, key: str, value: str) -> None:
        self.tags[key] = value

    def get_model_version_by_alias(self, _: str, alias: str) -> SimpleNamespace:
        if self.live is None or alias != "champion":
            raise MlflowException("none", error_code=RESOURCE_DOES_NOT_EXIST)
        version, model_id, record = self.live
        tags = {"model_id": model_id, "live_record": record}
        return SimpleNamespace(version=version, run_id=None, source=None, tags=tags)


@dataclass(frozen=True)
class Past:
    """A work folder with hours behind it; ``newest`` is the one that is worked on."""

    settings: Settings
    registry: Registry
    newest: Hour

    @property
    def key(self) -> LookKey:
        """Of the looks that count together."""
        return key_of(self.newest)


def lay_out(work: Path, hours: int) -> Past:
    """The records of so many hours, as a version before records were filed away left them."""
    client = MlflowInMemory()
    settings = Settings(work=work)
    registry = Registry(lambda: client, "hours", work / "models", work / "runs")  # type: ignore[arg-type]
    journal = _Journal(registry.records)
    live: dict[str, Any] | None = None
    for at in range(hours):
        hour, model_id = FIRST + at, f"{LINE}-{at:06d}"
        _dataset(work, hour, at, is_there=at >= hours - THERE_H)
        journal.link(_record(registry.records, f"{hour}-{model_id}", _decision(hour, model_id)))
        if at % PROMOTED_EVERY_H == 0:
            live = _change(hour, at, model_id, live)
            path = _record(registry.records, f"promotion-{model_id}", live["content"])
            live["name"] = path.name
            journal.link(path, "promotion")
            client.live = (str(at + 1), model_id, path.name)
        if live is not None:
            _record(work / "monitor", f"{hour}-{live['model']['model_id']}", _finding(hour, live))
        _text(work / "judged" / f"{hour}.json", json.dumps({"first": str(hour)}))
    client.tags["record_chain"] = journal.write()
    return Past(settings, registry, FIRST + hours)


class _Journal:
    """Links as older versions wrote them."""

    def __init__(self, records: Path) -> None:
        self._records = records
        self._lines: list[bytes] = []
        self._digest = ""
        self._add({"kind": "anchor", "records": {}, "at": None, "by": "", "why": ""})

    def link(self, record: Path, kind: str = "decision") -> None:
        sha256 = hashlib.sha256(record.read_bytes()).hexdigest()
        self._add({"kind": kind, "file": f"decisions/{record.name}", "sha256": sha256})

    def write(self) -> str:
        """Write the file; returns the head."""
        self._records.mkdir(parents=True, exist_ok=True)
        (self._records / JOURNAL).write_bytes(b"".join(self._lines))
        return f"{len(self._lines) - 1}:{self._digest}"

    def _add(self, content: Mapping[str, Any]) -> None:
        link = {**content, "n": len(self._lines), "previous": self._digest}
        self._lines.append((json.dumps(link, sort_keys=True) + "\n").encode())
        self._digest = hashlib.sha256(self._lines[-1]).hexdigest()


def key_of(hour: Hour) -> LookKey:
    """Of the looks at a line in the period of an hour."""
    period = Hour(hour.index - hour.index % PERIOD_H)
    return LookKey(LINE, "1", "promotion", "recent_pop", "mrr", 20, "rule", str(period))


def decision(work: Path, at: int) -> Path:
    """One more decision, about the hour after ``at`` others, as the gate writes it."""
    hour, model_id = FIRST + at, f"{LINE}-{at:06d}"
    return _record(work / "decisions", f"{hour}-{model_id}", _decision(hour, model_id))


def _decision(hour: Hour, model_id: str) -> dict[str, Any]:
    sums = Sums(users=100, n=300.0, d=1.0, dd=2.0, nn=900.0)
    look = Look(HourRange(hour, hour + 1), key_of(hour), {"recent_pop": sums}, {"all": sums})
    checks = [
        {"name": f"check {n}", "outcome": "promote", "reason": "fine", "sentence": "Fine. " * 10}
        for n in range(12)
    ]
    return {
        "format": 1,
        "kind": "decision",
        "line": LINE,
        "outcome": "hold",
        "as_of": str(hour),
        "candidate": {"model_id": model_id},
        "look": look.content(),
        "earlier_looks": [],
        "checks": checks,
        "made_at": f"{hour}:05:00",
    }


def _change(hour: Hour, at: int, model_id: str, live: dict[str, Any] | None) -> dict[str, Any]:
    model = {"model_id": model_id, "version": str(at + 1), "name": LINE}
    before = live["model"] if live else None
    content = {
        "format": 1,
        "kind": "promotion",
        "champion": model,
        "before": before,
        "previous": before,
        "earlier": [],
        "after": live["name"] if live else None,
        "reason": "promoted",
        "sentence": "It is better.",
        "at": f"{hour}:06:00",
        "as_of": str(hour + 1),
        "decision": None,
        "candidate": model_id,
        "judged_from": str(hour),
    }
    return {"model": model, "content": content}


def _finding(hour: Hour, live: Mapping[str, Any]) -> dict[str, Any]:
    rule = {"metric": "mrr", "k": 20, "rule": "rule", "floor": "recent_pop", "hours": 1}
    return {
        "format": 1,
        "kind": "monitor",
        "first": str(hour),
        "stop": str(hour + 1),
        "model": live["model"],
        "since_record": live["name"],
        "floor_id": None,
        "frozen_id": "part",
        "rule": rule,
        "outcome": "kept",
        "reason": "not_below_floor",
        "sentence": "It is not below the baseline.",
        "at": f"{hour}:04:00",
        "numbers": None,
        "replaced_by": None,
        "live_record": None,
        "users": None,
    }


def _dataset(work: Path, hour: Hour, at: int, *, is_there: bool) -> None:
    """A data set and its model, or what is left of them: a note and an entry."""
    name, model_id = f"set-{at:06d}", f"{LINE}-{at:06d}"
    _text(work / "shards" / ".by_time" / f"{hour}-{name}", "")
    _text(work / "candidates" / f"{name}.json", json.dumps({LINE: model_id}))
    if not is_there:
        return
    start = str(hour - 24)
    manifest = {
        **{"format": 2, "dataset_id": name, "as_of": str(hour), "window_start": start},
        **{"history_start": start, "n_items": 1, "n_users": 1, "n_events": 1, "n_targets": 1},
        **{"event_types": ["view"], "popularity_window_h": 24, "max_session_hours": 24},
        **{"gap_s": 3600, "config_digest": "", "code_version": ""},
        "dwell": {"n": 0, "mean_s": 0, "m2_s2": 0, "width_s": 0, "bins": 2},
        "files": {"vocabulary.parquet": "", "popularity.parquet": ""},
    }
    _text(work / "shards" / name / "manifest.json", json.dumps(manifest))
    card = {
        **{"format": 1, "model_id": model_id, "system": "hrnn", "parameters": {}, "seed": 0},
        **{"dataset_id": name, "as_of": str(hour), "code_version": "", "metrics": {}},
        **{"n_items": 1, "tensors": {}, "files": {}},
    }
    _text(work / "models" / model_id / "model.json", json.dumps(card))


def _record(folder: Path, prefix: str, content: Mapping[str, Any]) -> Path:
    """As `pipeline.sealed_json.write_record`, without waiting for the disk."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return _text(folder / f"{prefix}-{digest[:12]}.json", text)


def _text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def operations(past: Past) -> Iterator[tuple[str, Callable[[], object]]]:
    """What an hour does once or a few times, by name."""
    settings, registry, newest = past.settings, past.registry, past.newest
    records, shards = registry.records, settings.path("shards")
    period = Hour.parse(past.key.period)
    yield "verify the chain", lambda: verified_chain(registry)
    yield (
        "who is live",
        lambda: champion_during(champion_periods(registry, records, newest), newest),
    )
    yield "looks of the gate", lambda: earlier_looks(records, newest, past.key)
    yield (
        "findings of the monitor",
        lambda: monitor_results_between(settings.path("monitor"), period, newest),
    )
    yield "newest data set", lambda: dataset_folder(shards, "last")
    yield "latest model of a name", lambda: latest_model_of(settings, LINE, newest)
    yield "hours judged", lambda: judged_hours(settings, HourRange(newest - 24, newest))


def report_operations(past: Past) -> Iterator[tuple[str, Callable[[], object]]]:
    """What the report does, which looks at the whole."""
    yield "report: the whole chain", lambda: chain_problem(past.registry)


def main(arguments: list[str]) -> int:
    """Lay pasts out, and print one line of JSON for the machine and one for each past."""
    options = _arguments(arguments)
    machine = {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(machine), flush=True)
    for hours in options.hours:
        with tempfile.TemporaryDirectory(dir=options.work) as work:
            print(json.dumps(_measured(lay_out(Path(work), hours), options.repeats)), flush=True)
    return 0


def _measured(past: Past, repeats: int) -> dict[str, Any]:
    """For each operation ms of CPU, the first time and the median of those after it."""
    hours = past.newest.index - FIRST.index
    measured: dict[str, Any] = {"hours": hours}
    for name, run in (*operations(past), *report_operations(past)):
        first, *again = [_ms(run) for _ in range(repeats + 1)]
        measured[name] = {"first_ms": first, "ms": round(statistics.median(again), 2)}
    chain = verified_chain(past.registry)
    record = decision(past.settings.work, hours)
    measured["link a record"] = {
        "first_ms": _ms(lambda: link_record(past.registry, chain, record, "decision"))
    }
    return measured


def _ms(run: Callable[[], object]) -> float:
    begun = time.process_time()
    run()
    return round(1000 * (time.process_time() - begun), 2)


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.record_growth", description=__doc__)
    parser.add_argument(
        "--hours",
        type=lambda text: [int(number) for number in text.split(",")],
        default=[10, 1000, 10000],
        help="hours that lie behind, several with commas",
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", type=Path, help="folder for what is laid out, for a while")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
