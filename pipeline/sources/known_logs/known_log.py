"""What is known of a log: which files are its own, what their columns are, how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.hours import Hour
from pipeline.settings.ignore import IgnoreRule
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.sources.delimited import DelimitedSource
from pipeline.sources.field_rules import field_rules_of
from pipeline.sources.json_lines import JsonLinesSource
from pipeline.sources.known_logs.rewriting import Rewriting, RewrittenSource
from pipeline.sources.tables.source import TableSource


@dataclass(frozen=True)
class KnownLog:
    """Which files are the log's, what their columns are, and what else the reader is given.

    ``about`` says in a sentence what a record is.  With ``table`` (parquet, orc or avro) files
    have columns instead of lines; ``explode`` is the list whose elements are the records.
    ``time_format`` is how times are written, ``ignore`` which records are none of the log's
    interactions, beside those of ``source.ignore``.  With ``rewriting`` the columns are those of
    the lines that it makes.
    """

    about: str
    pattern: str
    columns: ColumnSettings
    reader: type[DelimitedSource | JsonLinesSource] = DelimitedSource
    options: Mapping[str, Any] = field(default_factory=dict)
    epoch: str | None = None  # its own, which ``source.epoch`` may replace
    table: str | None = None
    explode: str | None = None
    time_format: str | None = None
    ignore: tuple[IgnoreRule, ...] = ()
    rewriting: Rewriting | None = None

    def source(
        self, settings: SourceSettings, pattern: str
    ) -> DelimitedSource | JsonLinesSource | TableSource | RewrittenSource:
        """The log's reader under the name that the settings give it."""
        options = dict(self.options)
        if self.epoch is not None:
            default = SourceSettings.model_fields["epoch"].default
            options["epoch"] = Hour.parse(
                self.epoch if settings.epoch == default else settings.epoch
            )
        rules = field_rules_of(settings)
        if self.time_format is not None:
            rules = replace(rules, time_formats=(self.time_format,))
        options |= {
            "event_types": settings.event_types,
            "field_rules": replace(rules, ignore=(*self.ignore, *rules.ignore)),
        }
        if self.table is not None:
            records = JsonLinesSource(settings.name, pattern, self.columns, **options)
            return TableSource(settings.name, pattern, records, self.table, self.explode)
        if self.explode is not None:
            options["explode"] = self.explode
        if self.rewriting is not None:
            lines = DelimitedSource(settings.name, pattern, self.columns, **options)
            return RewrittenSource(settings.name, pattern, lines, self.rewriting)
        return self.reader(settings.name, pattern, self.columns, **options)
