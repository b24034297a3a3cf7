"""Where validation results are kept, and the Data Docs that show them."""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import HourglassError
from pipeline.hours import Hour

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

_SITE = "hourglass"
_STORE = "validation_results_store"
_HOUR = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}")


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
        self._context = _context(self._site, self._folder)
        self._stored: list[ValidationResultIdentifier] = []

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
        with _locked(self._folder):
            self._context.validation_results_store.set(key, result)
        self._stored.append(key)
        return self._page(key)

    def build(self) -> None:
        """Drop the results beyond ``keep`` and bring pages and index up to date.

        Raises:
            HourglassError: a page did not come out.
        """
        with _locked(self._folder):
            self._prune()
            whole = not (self._site / "index.html").is_file()
            self._context.build_data_docs(
                site_names=[_SITE], resource_identifiers=None if whole else self._stored
            )
            # Fonts and pictures of the pages that ours stand in for.
            shutil.rmtree(self._site / "static", ignore_errors=True)
            kept = set(self._context.validation_results_store.list_keys())
        pages = [self._site / "index.html", *(self._page(k) for k in self._stored if k in kept)]
        # Great Expectations only logs a page that it cannot render.
        missing = [page for page in pages if not page.is_file()]
        if missing:
            raise HourglassError(f"{missing[0]}: this page of the Data Docs could not be written")

    def _page(self, key: ValidationResultIdentifier) -> Path:
        parts: tuple[str, ...] = key.to_tuple()  # type: ignore[no-untyped-call]
        return self._site.joinpath("validations", *parts[:-1], f"{parts[-1]}.html")

    def _prune(self) -> None:
        """Keep the results written last: judging an old hour shows it, whatever its age."""
        store = self._context.validation_results_store
        by_suite: dict[str, list[tuple[int, tuple[str, ...], Any]]] = {}
        for key in store.list_keys():
            parts = key.to_tuple()
            file = self._folder.joinpath(*parts[:-1], f"{parts[-1]}.json")
            by_suite.setdefault(parts[0], []).append((file.stat().st_mtime_ns, parts, key))
        for entries in by_suite.values():
            for _, _, key in sorted(entries, key=lambda entry: entry[:2])[: -self._keep]:
                store.remove_key(key)  # type: ignore[no-untyped-call]


def _context(site: Path, folder: Path) -> AbstractDataContext:
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    docs = "pipeline.quality.docs"
    section = {
        "renderer": {"module_name": docs, "class_name": "ResultRenderer"},
        "view": {"module_name": docs, "class_name": "ResultView"},
    }
    defaults = InMemoryStoreBackendDefaults()
    defaults.stores[_STORE] = {
        "class_name": "ValidationResultsStore",
        "store_backend": _files(folder),
    }
    defaults.data_docs_sites = {
        _SITE: {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "store_backend": _files(site),
            "site_index_builder": {
                "class_name": "DefaultSiteIndexBuilder",
                "renderer": {"module_name": docs, "class_name": "IndexRenderer"},
                "view": {"module_name": docs, "class_name": "IndexView"},
            },
            "site_section_builders": {
                "validations": section,
                "expectations": "none",
                "profiling": "none",
            },
        }
    }
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


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time: Airflow may judge several hours at once."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
