"""What ends a run of ingest, beside its counts: reasons, and what was read by other settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.text.wording import counted, verb

if TYPE_CHECKING:
    from pipeline.ingest.ingest import IngestSummary
    from pipeline.ingest.metadata.item_user_tables import LoadedMetadata

# Reasons and files in one sentence; --json has them all.
_MOST_NAMED = 5
_MOST_CHARS = 40
_TIMES = "source.time_unit and source.columns.event_time say how times are read"
_ONE_A_LINE = (
    "a line is a record: write an array, or records over several lines, anew, as jq -c '.[]' does"
)
# What to look at where a whole file is refused, by how its most frequent reason begins.
_REMEDIES = {
    "event_time is before": _TIMES,
    "event_time is after": _TIMES,
    "event_time is not": _TIMES,
    "event_time is outside": _TIMES,
    "event_type is": "source.event_types names the types that count",
    "not valid JSON": _ONE_A_LINE,
    "not a JSON object": _ONE_A_LINE,
    "no ": "source.columns says which column holds it",
}


class SettingsOfFiles(Protocol):
    """What a run or a plan knows of files that were read by other settings."""

    @property
    def read_again(self) -> int:
        """Files whose records are read again."""
        ...

    @property
    def outdated(self) -> Sequence[str]:
        """Files that cannot be read again."""
        ...

    @property
    def unknown_settings(self) -> int:
        """Files of which it is not known by which settings they were read."""
        ...


def of_other_settings(done: SettingsOfFiles) -> str:
    """What there is to say of files that were read by other settings than today's."""
    sentence = ""
    if done.read_again:
        were = "file was" if done.read_again == 1 else "files were"
        sentence += f"; {done.read_again:,} {were} read by other settings before"
    return sentence + not_read_again(done)


def not_read_again(done: SettingsOfFiles) -> str:
    """What there is to say of files that today's settings do not read again."""
    sentence = ""
    if done.outdated:
        sentence += (
            f"; {counted(len(done.outdated), 'file')} read by other settings, no longer there to "
            f"be read again (put them back under their names): {done.outdated[0]}"
        )
    if done.unknown_settings:
        sentence += (
            f"; {counted(done.unknown_settings, 'file')} taken in by an earlier version, for all "
            "that is known by today's settings"
        )
    return sentence


def detail_lines(done: IngestSummary) -> str:
    """Lines that say what the counts of a run do not."""
    return equal_lines(done) + refused_lines(done) + ignored_lines(done) + arrival_lines(done)


def equal_lines(done: IngestSummary) -> str:
    """A line that says by which rule equal records of one file were counted, where it mattered."""
    if done.repeats:
        say = "record says the same as an earlier one of its file and is an event"
        if done.repeats > 1:
            say = "records say the same as an earlier one of their file and are events"
        return f"\n{done.repeats:,} accepted {say} too (ingest.equal_records: events)"
    if done.duplicates and done.equal_records == "duplicates":
        return "\nequal records of one file count as duplicates (ingest.equal_records: duplicates)"
    return ""


def refused_lines(done: IngestSummary) -> str:
    """Lines that say why records were refused, and of which files none became an event."""
    if not done.quarantined:
        return ""
    lines = [f"{done.quarantined:,} quarantined: {_reasons(done.refusals.reasons)}"]
    if types := done.refusals.types:
        named = [f"{_shown(name)} {records:,}" for name, records in types.items()]
        more = " and others" if len(named) > _MOST_NAMED else ""
        lines.append(f"unknown event types: {', '.join(named[:_MOST_NAMED])}{more}")
    if done.open_quotes:
        lines.append(
            "of a quote that is not closed: where fields within quotes hold line ends, set "
            "source.quoted_newlines to true"
        )
    files = done.refusals.by_file
    lines += [
        f"no record of {name} became an event: {_reasons(files[name])}{_remedy(files[name])}"
        for name in list(files)[:_MOST_NAMED]
    ]
    if len(files) > _MOST_NAMED:
        lines.append(f"nor did one of {counted(len(files) - _MOST_NAMED, 'other file')}")
    return "".join(f"\n{line}" for line in lines)


def ignored_lines(done: IngestSummary) -> str:
    """Lines that say what was left out on purpose, and which fields were dropped from events."""
    lines = []
    if done.ignored:
        lines.append(f"{done.ignored:,} ignored: {_reasons(done.ignored_by)}")
    if done.dropped:
        values = counted(sum(done.dropped.values()), "value")
        lines.append(f"{values} dropped, their records stay: {_reasons(done.dropped)}")
    return "".join(f"\n{line}" for line in lines)


def arrival_lines(done: IngestSummary) -> str:
    """A line that names files whose paths are unlike ``source.arrival``."""
    if not done.no_arrival:
        return ""
    files = counted(len(done.no_arrival), "file")
    do = verb(len(done.no_arrival), "does not tell its", "do not tell their")
    return (
        f"\n{files} {do} arrival by source.arrival, so the hour of this run stands for it, and no "
        f"record comes too late: {first_of(done.no_arrival)}"
    )


def and_no_arrival(names: Sequence[str]) -> str:
    """What ends a plan, or the line of the hourly loop, where paths are unlike source.arrival."""
    if not names:
        return ""
    such = f": {names[0]}" if len(names) == 1 else f", such as {names[0]}"
    return f"; {counted(len(names), 'file')} without an arrival by source.arrival{such}"


def and_refused(done: IngestSummary) -> str:
    """The reasons, where the line of the hourly loop has said how many were refused."""
    return f" ({_reasons(done.refusals.reasons)})" if done.quarantined else ""


def and_ignored(done: IngestSummary) -> str:
    """What ends the sum of all records where some were ignored."""
    return f" + {done.ignored:,} ignored" if done.ignored else ""


def _shown(text: str) -> str:
    """A text of a log as a sentence may hold it."""
    return repr(text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}...")


def _reasons(reasons: Mapping[str, int]) -> str:
    first = [f"{reason} {records:,}" for reason, records in list(reasons.items())[:_MOST_NAMED]]
    if len(reasons) > _MOST_NAMED:
        others = sum(list(reasons.values())[_MOST_NAMED:])
        first.append(f"{counted(len(reasons) - _MOST_NAMED, 'other reason')} {others:,}")
    return ", ".join(first)


def _remedy(reasons: Mapping[str, int]) -> str:
    """Where no record of a file is right, mostly a setting is wrong."""
    first = next(iter(reasons), "")
    remedy = next((text for start, text in _REMEDIES.items() if first.startswith(start)), "")
    return f": {remedy}" if remedy else ""


def metadata_lines(metadata: LoadedMetadata) -> str:
    """Lines that say what new metadata changes, and what is wrong with its files."""
    lines = (*metadata.notes, *metadata.faults, *metadata.former_faults)
    return "".join(f"\n{line}" for line in lines)


def metadata_facts(metadata: LoadedMetadata) -> dict[str, Any]:
    """The same for machines."""
    return {
        "metadata_faults": [*metadata.faults, *metadata.former_faults],
        "metadata_notes": list(metadata.notes),
    }


def first_of(sentences: Sequence[str]) -> str:
    """The first few sentences in one, and how many more there are."""
    more = len(sentences) - _MOST_NAMED
    return "; ".join([*sentences[:_MOST_NAMED], *([f"{more:,} more"] if more > 0 else [])])
