"""Our pages for Great Expectations' site builder.

Its own pages load styles and scripts from six public hosts and are empty without them; ours need
no network, follow the reader's light or dark scheme, and fit a phone.  The builder finds these
classes by name: a renderer gathers plain values, a view turns them into HTML.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

if TYPE_CHECKING:
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
    )

_TEMPLATES = Path(__file__).with_name("templates")
_GRAVITY = {"critical": 0, "warning": 1, "ok": 2}


class ResultRenderer:
    """Values for the page of one suite on one batch."""

    def render(self, result: ExpectationSuiteValidationResult) -> dict[str, Any]:
        """Gather the rows, failures first."""
        from pipeline.quality.validate import configuration_of, examples_of, observed_text

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
        return {
            "suite": result.suite_name,
            "batch": name,
            "verdict": result.meta["batch_spec"]["verdict"],
            "rows": rows,
        }


class IndexRenderer:
    """Values for the first page: a row per batch, a cell per suite."""

    def render(self, links: dict[str, Any]) -> dict[str, Any]:
        """Group the builder's links by batch, newest first."""
        batches: dict[str, dict[str, Any]] = {}
        suites: set[str] = set()
        for link in links.get("validations_links", ()):
            suite, about = link["expectation_suite_name"], link["batch_spec"]
            suites.add(suite)
            batch = batches.setdefault(
                link["run_name"], {"name": link["run_name"], "cells": {}, "failed": []}
            )
            batch["cells"][suite] = {"verdict": about["verdict"], "href": link["filepath"]}
            batch["failed"] += about["failed"]
        rows = sorted(batches.values(), key=lambda row: str(row["name"]), reverse=True)
        for row in rows:
            verdicts = [cell["verdict"] for cell in row["cells"].values()]
            row["verdict"] = min(verdicts, key=_GRAVITY.__getitem__)
        counts = {v: sum(row["verdict"] == v for row in rows) for v in _GRAVITY}
        return {"suites": sorted(suites), "rows": rows, "counts": counts}


class _View:
    template = ""

    def render(self, document: dict[str, Any], **_: object) -> str:
        """Fill the template; every value is escaped."""
        loader = jinja2.FileSystemLoader(_TEMPLATES)
        environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
        return environment.get_template(self.template).render(document)


class ResultView(_View):
    """Page of one suite on one batch."""

    template = "result.html"


class IndexView(_View):
    """First page of the site."""

    template = "index.html"
