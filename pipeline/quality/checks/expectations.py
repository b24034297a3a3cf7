"""Run a suite over a frame with Great Expectations and turn its answer into outcomes.

A pandas frame is the usual way: it needs no JVM, and of an hour of up to some hundred thousand rows
it is several times quicker.  Near a million rows a warm Spark session is as quick, because it asks
both cores for each expectation; Spark frames are for such hours and for those beyond memory.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.quality.checks.answers import (
    configuration_of,
    examples_of,
    figure_text,
    observed_text,
)
from pipeline.quality.checks.data_docs import QualitySite
from pipeline.quality.checks.results import ExpectationResult, ValidationResult, worst
from pipeline.quality.checks.suite import Check, Suite

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationSuite
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
        ExpectationValidationResult,
    )
    from pyspark.sql import DataFrame as SparkFrame

MAX_EXAMPLES = 5
# Of a column that holds the lower end of a share's 95 % interval.
_LOWER_END = "_low"
_BATCH_NAME = re.compile(r"[\w][\w+:-]*")


@dataclass(frozen=True)
class Batch:
    """A frame to judge, the suite to judge it by, and the name (an hour) it is filed under."""

    suite: Suite
    frame: pd.DataFrame | SparkFrame
    name: str


def validate_frame(
    suite: Suite, frame: pd.DataFrame | SparkFrame, batch_name: str, site: Path, keep: int
) -> ValidationResult:
    """Judge one frame; see :func:`validate_batches`."""
    return validate_batches([Batch(suite, frame, batch_name)], site, keep)[0]


def validate_batches(batches: Iterable[Batch], site: Path, keep: int) -> list[ValidationResult]:
    """Judge frames one after the other and bring the Data Docs up to date once.

    Results lie in ``site``'s sibling ``validations``; a batch judged before is replaced, and of
    each suite only the ``keep`` most recently judged batches stay.  Pass an iterator to hold one
    frame in memory at a time.

    Args:
        batches: what to judge; names are made of letters, digits, ``_``, ``+``, ``:`` and ``-``.
        site: folder of the Data Docs, made where missing; ``index.html`` is its first page.
        keep: how many batches of a suite stay in the Data Docs, 1 or more.

    Raises:
        UsageError: a name or ``keep`` is out of range, or Great Expectations does not know an
            expectation of the suite or one of its arguments.
    """
    if keep < 1:
        raise UsageError(f"keep = {keep}: the Data Docs must keep at least 1 batch")
    outcomes: list[ValidationResult] = []
    with _quiet():
        quality = QualitySite(site, keep)
    # The iterator is the caller's: what it prints stays heard.
    for batch in batches:
        if not _BATCH_NAME.fullmatch(batch.name):
            raise UsageError(
                f"batch name {batch.name!r}: use letters, digits, '_', '+', ':' and '-'"
            )
        with _quiet():
            outcomes.append(_judge(quality, batch))
    if outcomes:
        with _quiet():
            quality.build()
    return outcomes


def results_of(
    result: ExpectationSuiteValidationResult, suite: Suite, batch_name: str
) -> tuple[ExpectationResult, ...]:
    """Read Great Expectations' answer, in the order of the suite."""
    by_name = {configuration_of(r).meta["name"]: r for r in result.results}
    where = f"{suite.name}/{batch_name}"
    return tuple(_expectation_result(check, by_name[check.name], where) for check in suite.checks)


def _judge(quality: QualitySite, batch: Batch) -> ValidationResult:
    expectations = _expectations(batch.suite)
    frame = quality.batch(batch.suite.name, batch.name, batch.frame)
    answer = {"result_format": "SUMMARY", "partial_unexpected_count": MAX_EXAMPLES}
    result = frame.validate(expectations, result_format=answer)
    quality.forget(batch.suite.name, batch.name)
    _note_figures(result, batch.frame)
    results = results_of(result, batch.suite, batch.name)
    failed = [outcome.sentence for outcome in results if not outcome.success]
    page = quality.store(result, batch.name, {"verdict": worst(results), "failed": failed})
    return ValidationResult(batch.suite.name, batch.name, results, page)


def _note_figures(
    result: ExpectationSuiteValidationResult, frame: pd.DataFrame | SparkFrame
) -> None:
    """Of one row of facts, the fact is what was observed; the answers only count rows."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame) or len(frame) != 1:
        return
    for answer in result.results:
        column = str(configuration_of(answer).kwargs.get("column"))
        # An answer that counts no rows holds a figure: the share itself is wanted beside its end.
        wanted = "observed_value" if column.endswith(_LOWER_END) else "element_count"
        if column not in frame or wanted not in (answer.result or {}):
            continue
        if pd.api.types.is_float_dtype(frame[column]):
            answer.result["fact"] = _fact_text(column, frame)


def _fact_text(column: str, frame: pd.DataFrame) -> str:
    value = float(frame[column].iloc[0])
    if not isnan(value):
        rate = column.removesuffix(_LOWER_END)
        if rate == column or rate not in frame:
            return f"{column} is {figure_text(value)}"
        # What was counted, and what is judged: the lower end of its interval.
        counted_rate = figure_text(float(frame[rate].iloc[0]))
        return f"{rate} is {counted_rate}, with 95 % confidence at least {figure_text(value)}"
    # `users_ratio_z5` is empty where `users_ratio` is nothing unusual.
    whole = re.sub(r"_z\d$", "", column)
    ratio = float(frame[whole].iloc[0]) if whole in frame else value
    return (
        "too little to judge by" if isnan(ratio) else f"{whole} is {figure_text(ratio)}, as it may"
    )


def _expectations(suite: Suite) -> ExpectationSuite:
    from great_expectations.core import ExpectationSuite
    from great_expectations.exceptions.exceptions import ExpectationNotFoundError
    from great_expectations.expectations.expectation_configuration import (
        ExpectationConfiguration,
    )
    from great_expectations.expectations.metadata_types import FailureSeverity

    expectations = []
    for check in suite.checks:
        configuration = ExpectationConfiguration(
            type=check.expect,
            kwargs=dict(check.arguments),
            description=check.description,
            severity=FailureSeverity(check.severity),
            meta={
                "name": check.name,
                "mend": check.remedy,
                "limit": check.limit,
            },
        )
        where = f"suite {suite.name}: expectation {check.name!r}"
        try:
            expectations.append(configuration.to_domain_obj())
        except ExpectationNotFoundError as error:
            raise UsageError(
                f"{where}: Great Expectations has no {check.expect!r}: see its gallery"
            ) from error
        except ValueError as error:
            # Pydantic's first line only counts the errors; the rest names them.
            reason = " ".join(str(error).split("\n", 1)[-1].split())
            raise UsageError(f"{where}: {reason}: mend its arguments") from error
    return ExpectationSuite(name=suite.name, expectations=expectations)


def _expectation_result(
    check: Check, result: ExpectationValidationResult, where: str
) -> ExpectationResult:
    observed = observed_text(result)
    sentence = f"{where}: {check.description}"
    if not result.success:
        sentence = (
            f'{where}: broken promise "{check.description}": {observed} (limit: {check.limit})'
        )
        sentence += f": {check.remedy}" if check.remedy else ""
    return ExpectationResult(
        check.name,
        check.column,
        check.severity,
        bool(result.success),
        observed,
        check.limit,
        sentence,
        examples_of(result),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Great Expectations' log, warnings and prints off our streams while it works."""
    log = logging.getLogger("great_expectations")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
