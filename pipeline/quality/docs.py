"""The pages of the Data Docs, made from Great Expectations' results.

Its own site builder opens every result that is kept whenever one is added, and its pages load
styles and scripts from six public hosts and are empty without them.  Ours need no network, follow
the reader's light or dark scheme, fit a phone, and are written one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from pipeline.quality.answers import configuration_of, examples_of, observed_text

if TYPE_CHECKING:
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
    )

_TEMPLATES = Path(__file__).with_name("templates")
_GRAVITY = {"critical": 0, "warning": 1, "ok": 2}


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
    rows.sort(key=lambda row: (_GRAVITY[row["verdict"]], row["name"]))
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
        row["verdict"] = min(verdicts, key=_GRAVITY.__getitem__)
    counts = {v: sum(row["verdict"] == v for row in rows) for v in _GRAVITY}
    return _page("index.html", {"suites": sorted(suites), "rows": rows, "counts": counts})


def _page(template: str, values: dict[str, Any]) -> str:
    """Fill a template; every value is escaped."""
    loader = jinja2.FileSystemLoader(_TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
    return environment.get_template(template).render(values)
