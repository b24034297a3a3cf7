"""The transforms: SQL files of the ``sql`` folder, run over named data frames."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def statement(name: str) -> str:
    """Text of ``sql/<name>.sql``."""
    return resources.files("sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")


def query(
    spark: SparkSession,
    name: str,
    views: dict[str, DataFrame],
    **parameters: str | int | float | bool,
) -> DataFrame:
    """Run one SQL file; ``views`` are the tables it names, ``parameters`` its ``:markers``."""
    for view, frame in views.items():
        frame.createOrReplaceTempView(view)
    return spark.sql(statement(name), args=parameters)
