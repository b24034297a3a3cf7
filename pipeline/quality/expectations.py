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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UsageError
from pipeline.quality.data_docs import QualitySite
from pipeline.quality.results import ExpectationOutcome, ValidationOutcome, worst
from pipeline.quality.suite import Check, Suite
from pipeline.text.numbers import significant
from pipeline.text.wording import counted

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationSuite
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
        ExpectationValidationResult,
    )
    from great_expectations.expectations.expectation_configuration import (
        ExpectationConfiguration,
    )
    from pyspark.sql import DataFrame as SparkFrame

MAX_EXAMPLES = 5
_MAX_EXAMPLE_CHARS = 120
_EXACT_DIGITS = 15
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
) -> ValidationOutcome:
    """Judge one frame; see :func:`validate_batches`."""
    return validate_batches([Batch(suite, frame, batch_name)], site, keep)[0]


def validate_batches(batches: Iterable[Batch], site: Path, keep: int) -> list[ValidationOutcome]:
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
    outcomes: list[ValidationOutcome] = []
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


def outcomes_of(
    result: ExpectationSuiteValidationResult, suite: Suite, batch_name: str
) -> tuple[ExpectationOutcome, ...]:
    """Read Great Expectations' answer, in the order of the suite."""
    by_name = {configuration_of(r).meta["name"]: r for r in result.results}
    where = f"{suite.name}/{batch_name}"
    return tuple(_outcome(check, by_name[check.name], where) for check in suite.checks)


def _judge(quality: QualitySite, batch: Batch) -> ValidationOutcome:
    expectations = _expectations(batch.suite)
    frame = quality.batch(batch.suite.name, batch.name, batch.frame)
    answer = {"result_format": "SUMMARY", "partial_unexpected_count": MAX_EXAMPLES}
    result = frame.validate(expectations, result_format=answer)
    quality.forget(batch.suite.name, batch.name)
    _note_figures(result, batch.frame)
    results = outcomes_of(result, batch.suite, batch.name)
    failed = [outcome.sentence for outcome in results if not outcome.success]
    page = quality.store(result, batch.name, {"verdict": worst(results), "failed": failed})
    return ValidationOutcome(batch.suite.name, batch.name, results, page)


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
            return f"{column} is {_figure(value)}"
        # What was counted, and what is judged: the lower end of its interval.
        counted_rate = _figure(float(frame[rate].iloc[0]))
        return f"{rate} is {counted_rate}, with 95 % confidence at least {_figure(value)}"
    # `users_ratio_z5` is empty where `users_ratio` is nothing unusual.
    whole = re.sub(r"_z\d$", "", column)
    ratio = float(frame[whole].iloc[0]) if whole in frame else value
    return "too little to judge by" if isnan(ratio) else f"{whole} is {_figure(ratio)}, as it may"


def _expectations(suite: Suite) -> ExpectationSuite:
    from great_expectations.core import ExpectationSuite
    from great_expectations.exceptions.exceptions import ExpectationNotFoundError
    from great_expectations.expectations.expectation_configuration import (
        ExpectationConfiguration,
    )
    from great_expectations.expectations.metadata_types import FailureSeverity

    made = []
    for check in suite.checks:
        configuration = ExpectationConfiguration(
            type=check.expect,
            kwargs=dict(check.arguments),
            description=check.promise,
            severity=FailureSeverity(check.severity),
            meta={
                "name": check.name,
                "mend": check.mend,
                "limit": check.limit,
            },
        )
        where = f"suite {suite.name}: expectation {check.name!r}"
        try:
            made.append(configuration.to_domain_obj())
        except ExpectationNotFoundError as error:
            raise UsageError(
                f"{where}: Great Expectations has no {check.expect!r}: see its gallery"
            ) from error
        except ValueError as error:
            # Pydantic's first line only counts the errors; the rest names them.
            reason = " ".join(str(error).split("\n", 1)[-1].split())
            raise UsageError(f"{where}: {reason}: mend its arguments") from error
    return ExpectationSuite(name=suite.name, expectations=made)


def _outcome(check: Check, result: ExpectationValidationResult, where: str) -> ExpectationOutcome:
    observed = observed_text(result)
    sentence = f"{where}: {check.promise}"
    if not result.success:
        sentence = f'{where}: broken promise "{check.promise}": {observed} (limit: {check.limit})'
        sentence += f": {check.mend}" if check.mend else ""
    return ExpectationOutcome(
        check.name,
        check.column,
        check.severity,
        bool(result.success),
        observed,
        check.limit,
        sentence,
        examples_of(result),
    )


def configuration_of(result: ExpectationValidationResult) -> ExpectationConfiguration:
    """The expectation that a result answers; every one that we ran has one."""
    if result.expectation_config is None:
        raise ValueError("a validation result does not name its expectation")
    return result.expectation_config


def observed_text(result: ExpectationValidationResult) -> str:
    """What Great Expectations saw, in words."""
    answer: Mapping[str, Any] = result.result or {}
    if "fact" in answer:
        return str(answer["fact"])
    if "unexpected_count" in answer:
        bad, rows = answer["unexpected_count"], answer["element_count"]
        empty = answer.get("missing_count") or 0
        shown = f"{bad:,} of {_rows(rows)}" if bad else _rows(rows)
        return f"{shown}; {empty:,} without a value" if empty else shown
    fault = _fault(result.exception_info)
    if fault:
        return f"it could not be checked, {fault}"
    details = answer.get("details") or {}
    missing = (details.get("mismatched") or {}).get("missing")
    if missing:
        return "there is no column " + ", ".join(missing)
    value = answer.get("observed_value")
    column = configuration_of(result).kwargs.get("column")
    if isinstance(value, list):
        return counted(len(value), "column")
    return f"{column} is {_figure(value)}" if column else _rows(int(value or 0))


def _figure(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, float):
        return significant(value)
    return _example(value)


def _rows(n: int) -> str:
    return f"{n:,} row{'' if n == 1 else 's'}"


def examples_of(result: ExpectationValidationResult) -> tuple[str, ...]:
    """A few distinct offending values as text, absent ones left out."""
    values = (result.result or {}).get("partial_unexpected_list", ())
    return tuple(dict.fromkeys(_example(value) for value in values if value is not None))


def _fault(info: Mapping[str, Any] | None) -> str:
    """The message of a failed computation; Great Expectations nests it one level, or not."""
    for part in (info or {}, *(v for v in (info or {}).values() if isinstance(v, Mapping))):
        if part.get("raised_exception") and part.get("exception_message"):
            lines = str(part["exception_message"]).strip().splitlines()
            return lines[0].rstrip(".") if lines else "no reason given"
    return ""


def _example(value: object) -> str:
    """One offending value as short text; control characters are shown, not sent."""
    plain = isinstance(value, float) and isfinite(value)
    written = significant(value, _EXACT_DIGITS) if plain else str(value)  # type: ignore[arg-type]
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in written)
    return text if len(text) <= _MAX_EXAMPLE_CHARS else text[:_MAX_EXAMPLE_CHARS] + "…"


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
