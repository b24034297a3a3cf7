"""Where validation results are kept, and the Data Docs that show them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from filelock import FileLock

from pipeline.files import write_text
from pipeline.hours import Hour
from pipeline.quality.checks.answers import configuration_of, examples_of, observed_text

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
    )
    from great_expectations.data_context.data_context.abstract_data_context import (
        AbstractDataContext,
    )
    from great_expectations.data_context.types.resource_identifiers import (
        ValidationResultIdentifier,
    )
    from great_expectations.datasource.fluent.interfaces import Batch as GreatBatch
    from great_expectations.datasource.fluent.pandas_datasource import (
        DataFrameAsset as PandasAsset,
    )
    from great_expectations.datasource.fluent.spark_datasource import (
        DataFrameAsset as SparkAsset,
    )
    from pyspark.sql import DataFrame as SparkFrame

_STORE = "validation_results_store"
_INDEX = ".index"
_LOCK = ".lock"  # Airflow may judge several hours at once
_HOUR = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}")
_TEMPLATES = Path(__file__).with_name("templates")
_SEVERITY_ORDER = {"critical": 0, "warning": 1, "ok": 2}


class QualitySite:
    """The results folder ``<site>/../validations`` and the site folder, for one run.

    The context lives in memory: only results and pages are written, so that the folders can be
    moved and nothing in them goes stale.
    """

    def __init__(self, site: Path, keep: int) -> None:
        self._site = site.absolute()
        self._folder = self._site.parent / "validations"
        self._keep = keep
        self._folder.mkdir(parents=True, exist_ok=True)
        self._context = _context(self._folder)
        self._stored: dict[ValidationResultIdentifier, tuple[int, IndexEntry]] = {}

    def batch(self, suite: str, name: str, frame: pd.DataFrame | SparkFrame) -> GreatBatch:
        """Hand a frame to Great Expectations; its class decides the engine."""
        import pandas as pd

        source = f"{suite}-{name}"
        sources = self._context.data_sources
        asset: PandasAsset | SparkAsset[Any]
        if isinstance(frame, pd.DataFrame):
            asset = sources.add_or_update_pandas(source).add_dataframe_asset(suite)
        else:
            asset = sources.add_or_update_spark(source).add_dataframe_asset(suite)
        whole = asset.add_batch_definition_whole_dataframe(name)
        return whole.get_batch({"dataframe": frame})

    def forget(self, suite: str, name: str) -> None:
        """Let go of a frame, which the context would keep until the end of the run."""
        self._context.data_sources.delete(f"{suite}-{name}")

    def store(
        self, result: ExpectationSuiteValidationResult, name: str, about: dict[str, Any]
    ) -> Path:
        """File a result under its batch name, replacing a former one; returns its page's path."""
        from great_expectations.core import RunIdentifier
        from great_expectations.data_context.types.resource_identifiers import (
            ExpectationSuiteIdentifier,
            ValidationResultIdentifier,
        )

        # The run's time is the batch's own, not the clock's: judging again gives the same file.
        run = RunIdentifier(run_name=name, run_time=_time_of(name))
        key = ValidationResultIdentifier(ExpectationSuiteIdentifier(result.suite_name), run, name)
        result.meta = {
            "run_id": run,
            "validation_time": run.run_time,
            # The index shows what stands here without opening the rest of the result.
            "batch_spec": about,
        }
        file = self._folder / f"{self._name(key)}.json"
        with FileLock(self._folder / _LOCK, preserve_lock_file=True):
            self._context.validation_results_store.set(key, result)
            # Within the lock: another process may drop it as one of too many.
            stored_ns = file.stat().st_mtime_ns
        entry = IndexEntry(
            result.suite_name,
            name,
            about["verdict"],
            tuple(about["failed"]),
            f"validations/{self._name(key)}.html",
        )
        self._stored[key] = stored_ns, entry
        page = self._page(key)
        page.parent.mkdir(parents=True, exist_ok=True)
        write_text(page, result_page(result))
        return page

    def build(self) -> None:
        """Drop the results beyond ``keep`` and bring the index up to date.

        No former result is opened: what this costs does not grow with their number, but for the
        lines of the index.
        """
        with FileLock(self._folder / _LOCK, preserve_lock_file=True):
            entries = self._remembered() | {
                self._name(key): entry for key, entry in self._stored.items()
            }
            for name in _beyond(entries, self._keep):
                del entries[name]
                (self._folder / f"{name}.json").unlink(missing_ok=True)
                (self._site / "validations" / f"{name}.html").unlink(missing_ok=True)
            self._site.mkdir(parents=True, exist_ok=True)
            write_text(
                self._site / "index.html", index_page(entry for _, entry in entries.values())
            )
            order = [[name, at, asdict(entry)] for name, (at, entry) in sorted(entries.items())]
            write_text(self._folder / _INDEX, json.dumps(order, indent=0))

    def _remembered(self) -> dict[str, tuple[int, IndexEntry]]:
        """By name, when a result was stored and what the index says of it.

        Where the list of them is gone or not readable, the results that are there are read.
        """
        try:
            listed = json.loads((self._folder / _INDEX).read_text(encoding="utf-8"))
            entries = {name: (at, _entry(values)) for name, at, values in listed}
        except (OSError, ValueError, TypeError, KeyError):
            entries = dict(map(self._read, self._folder.rglob("*.json")))
        return {
            name: entry
            for name, entry in entries.items()
            if (self._folder / f"{name}.json").is_file()
        }

    def _read(self, file: Path) -> tuple[str, tuple[int, IndexEntry]]:
        result = json.loads(file.read_text(encoding="utf-8"))
        name = file.relative_to(self._folder).with_suffix("").as_posix()
        about = result["meta"]["batch_spec"]
        batch = result["meta"]["run_id"]["run_name"]
        href = f"validations/{name}.html"
        entry = IndexEntry(
            result["suite_name"], batch, about["verdict"], tuple(about["failed"]), href
        )
        return name, (file.stat().st_mtime_ns, entry)

    def _name(self, key: ValidationResultIdentifier) -> str:
        """Where a result and its page lie, below the folders and without the ending."""
        parts: tuple[str, ...] = key.to_tuple()
        return "/".join(parts)

    def _page(self, key: ValidationResultIdentifier) -> Path:
        return self._site / "validations" / f"{self._name(key)}.html"


def _beyond(stored: Mapping[str, tuple[int, IndexEntry]], keep: int) -> Iterator[str]:
    """All but the results of each suite stored last: an old hour judged now shows it."""
    by_suite: dict[str, list[tuple[int, str]]] = {}
    for name, (at, entry) in stored.items():
        by_suite.setdefault(entry.suite, []).append((at, name))
    for entries in by_suite.values():
        yield from (name for _, name in sorted(entries)[:-keep])


def _entry(values: dict[str, Any]) -> IndexEntry:
    return IndexEntry(**{**values, "failed": tuple(values["failed"])})


def _context(folder: Path) -> AbstractDataContext:
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    defaults = InMemoryStoreBackendDefaults()
    defaults.stores[_STORE] = {
        "class_name": "ValidationResultsStore",
        "store_backend": _files(folder),
    }
    # Ours are made without its site builder: see pipeline.quality.checks.data_docs.
    defaults.data_docs_sites = {}
    config = DataContextConfig(
        store_backend_defaults=defaults,
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _files(folder: Path) -> dict[str, Any]:
    return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)}


def _time_of(name: str) -> datetime:
    match = _HOUR.search(name)
    return Hour.parse(match[0]).start if match else datetime(1970, 1, 1, tzinfo=UTC)


# The pages of the Data Docs, made from Great Expectations' results.
#
# Its own site builder opens every result that is kept whenever one is added, and its pages load
# styles and scripts from six public hosts and are empty without them.  Ours need no network, follow
# the reader's light or dark scheme, fit a phone, and are written one by one.


def result_page(result: ExpectationSuiteValidationResult) -> str:
    """The page of one suite on one batch, failures first."""
    rows = []
    for answer in result.results:
        config = configuration_of(answer)
        severity = getattr(config.severity, "value", config.severity)
        rows.append(
            {
                "name": config.meta["name"],
                "promise": config.description,
                "mend": config.meta["mend"],
                "limit": config.meta["limit"],
                "expect": config.type,
                "column": config.kwargs.get("column", ""),
                "verdict": "ok" if answer.success else severity,
                "severity": severity,
                "observed": observed_text(answer),
                "examples": examples_of(answer),
            }
        )
    rows.sort(key=lambda row: (_SEVERITY_ORDER[row["verdict"]], row["name"]))
    run = result.meta["run_id"]
    name = run["run_name"] if isinstance(run, dict) else run.run_name
    values = {
        "suite": result.suite_name,
        "batch": name,
        "verdict": result.meta["batch_spec"]["verdict"],
        "rows": rows,
    }
    return _page("result.html", values)


@dataclass(frozen=True)
class IndexEntry:
    """What the first page says of one suite on one batch; ``href`` is its page."""

    suite: str
    batch: str
    verdict: str
    failed: tuple[str, ...]
    href: str


def index_page(entries: Iterable[IndexEntry]) -> str:
    """The site's first page: a row per batch, newest first, and a cell per suite."""
    batches: dict[str, dict[str, Any]] = {}
    suites: set[str] = set()
    for entry in sorted(entries, key=lambda entry: (entry.batch, entry.suite)):
        suites.add(entry.suite)
        batch = batches.setdefault(entry.batch, {"name": entry.batch, "cells": {}, "failed": []})
        batch["cells"][entry.suite] = {"verdict": entry.verdict, "href": entry.href}
        batch["failed"] += entry.failed
    rows = sorted(batches.values(), key=lambda row: str(row["name"]), reverse=True)
    for row in rows:
        verdicts = [cell["verdict"] for cell in row["cells"].values()]
        row["verdict"] = min(verdicts, key=_SEVERITY_ORDER.__getitem__)
    counts = {v: sum(row["verdict"] == v for row in rows) for v in _SEVERITY_ORDER}
    return _page("index.html", {"suites": sorted(suites), "rows": rows, "counts": counts})


def _page(template: str, values: dict[str, Any]) -> str:
    """Fill a template; every value is escaped."""
    return _templates().get_template(template).render(values)


@cache  # a template is compiled once, not for each of some hundred pages
def _templates() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(_TEMPLATES)
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
