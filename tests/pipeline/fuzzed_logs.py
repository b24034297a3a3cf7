"""Raw files of every kind of damage, whose fate in the lake is known by how they were made."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.hours import Hour
from pipeline.settings.settings import Settings
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.settings.tables import IngestSettings

H0 = Hour.parse("2016-03-14T13")
HEADER = "event_time,user_id,item_id,price,id,device"
RULES = IngestSettings(max_record_chars=2000, max_id_chars=40)


@dataclass(frozen=True)
class Record:
    """A line of a file: what it says happened, or None where nothing can be made of it."""

    raw: bytes
    event: tuple[Any, ...] | None = None
    device: str = ""
    #: Whether it happened long before any of the hours that names tell.
    old: bool = False


@dataclass
class RawLog:
    """One raw file and what its lines should become, by line number."""

    name: str
    content: bytes
    records: dict[int, Record] = field(default_factory=dict)

    def put(self, landing: Path) -> Path:
        path = landing / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.content)
        return path

    @property
    def events(self) -> dict[int, Record]:
        """The lines that are events: old ones only where the name tells no hour of arrival."""
        named = self.name.startswith((f"{H0}/", f"{H0 + 1}/"))
        return {n: r for n, r in self.records.items() if r.event and not (r.old and named)}

    @property
    def refused(self) -> set[tuple[str, int]]:
        return {(self.name, line) for line in self.records.keys() - self.events.keys()}


def settings_for(work: Path, landing: Path) -> Settings:
    columns = ColumnSettings(value="price", event_key="id", context={"device": "device"})
    source = SourceSettings(name="delimited", path=landing, columns=columns)
    return Settings(work=work, source=source, ingest=RULES)


def expected_events(logs: Iterable[RawLog]) -> list[tuple[Any, ...]]:
    """Rows of ``events`` in order: of the records of one event the first by file and line."""
    first: dict[tuple[Any, ...], tuple[str, int, str]] = {}
    for log in logs:
        for line, record in log.events.items():
            place = (log.name, line, record.device)
            first[record.event] = min(first.get(record.event, place), place)
    rows = (
        (time_s, user, item, price, device, name, line)
        for (time_s, user, item, price), (name, line, device) in first.items()
    )
    return sorted(rows, key=repr)


def expected_accounts(logs: Iterable[RawLog]) -> dict[str, tuple[int, int, int, int]]:
    """Records, accepted, duplicates and quarantined of each file when all arrive at once."""
    logs = list(logs)
    kept = {(name, line) for *_, name, line in expected_events(logs)}
    accounts = {}
    for log in logs:
        good = log.events
        accepted = sum((log.name, line) in kept for line in good)
        bad = len(log.records) - len(good)
        accounts[log.name] = (len(log.records), accepted, len(good) - accepted, bad)
    return accounts


def refused_of(logs: Iterable[RawLog]) -> list[tuple[str, int]]:
    """File and line of each record that is no event, in order."""
    return sorted(place for log in logs for place in log.refused)


def event_rows(rows: Iterable[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Rows of the ``events`` table in the form of :func:`expected_events`."""
    said = (
        (
            row["event_time"].timestamp(),
            row["user_id"],
            row["item_id"],
            row["value"],
            dict(row["context"]).get("device", ""),
            row["source_file"],
            row["line"],
        )
        for row in rows
    )
    return sorted(said, key=repr)


def good(rng: random.Random) -> Record:
    """One of few possible events, so that the same ones turn up again and again."""
    time_s = float(H0.index * 3600 - rng.randrange(4) * 3600 + rng.randrange(5))
    user = rng.choice(["u1", "Zoë", "日本🦉", "O'Neil"])
    item = f"i{rng.randrange(2)}"
    price = rng.choice([None, 0.5, 10.0])
    device = rng.choice(["", "phone", "tablet"])
    # What is no price costs the price alone.
    written = rng.choice(["", "dear", "inf"]) if price is None else price
    text = f"{time_s:.0f},{user},{item},{written},,{device}"
    if rng.random() < 0.2:
        text = f'"{time_s:.0f}"," {user}","{item} ",{written},,{device}'
    return Record(text.encode(), (time_s, user, item, price), device)


def old(rng: random.Random) -> Record:
    """One of few events of which most names tell that they came too late."""
    time_s = float(H0.index * 3600 - 170 * 3600 - rng.randrange(2))
    return Record(f"{time_s:.0f},u1,i0,,,".encode(), (time_s, "u1", "i0", None), old=True)


def bad(rng: random.Random) -> Record:
    """A line that nobody could take for an event."""
    now = H0.index * 3600
    lines = [
        b"soon,u,i,,,",
        b",u,i,,,",
        f"{now},,i,,,".encode(),
        f"{now},u,   ,,,".encode(),
        f"{now},u".encode(),
        f"{now},u,i,,,,,,more".encode(),
        f'{now},"u,i,,,'.encode(),
        f"{now},u,i\0,,,".encode(),
        f"{now},{'u' * 41},i,,,".encode(),
        f"{now},u,i,,,{'x' * 3000}".encode(),
        f"{now},caf\u00e9,i,,,".encode("latin-1"),
        f"{now + 90_000},u,i,,,".encode(),
        b"1,u,i,,,",
        b"1e400,u,i,,,",
        b"\xff\xfe\x00\x01",
        b"<html>502 Bad Gateway</html>",
        bytes(rng.choice(b"abc,\xc3\x28\x7f\x01\t") for _ in range(rng.randrange(1, 60))) + b"!",
    ]
    return Record(rng.choice(lines))


def plain(rng: random.Random, name: str, lines: int = 12, bad_share: float = 0.3) -> RawLog:
    """A CSV file with blank lines here and there, and one or the other end of line."""
    return _assembled(rng, name, lines, bad_share, HEADER)


def _assembled(rng: random.Random, name: str, lines: int, bad_share: float, header: str) -> RawLog:
    end = rng.choice([b"\n", b"\r\n"])
    out = [header.encode()]
    records = {}
    for _ in range(lines):
        if rng.random() < 0.1:
            out.append(rng.choice([b"", b"  "]))
        kind = bad if rng.random() < bad_share else old if rng.random() < 0.05 else good
        record = kind(rng)
        out.append(record.raw)
        records[len(out)] = record
    mark = b"\xef\xbb\xbf" if rng.random() < 0.2 else b""
    return RawLog(name, mark + end.join(out) + (end if rng.random() < 0.5 else b""), records)


def zipped(rng: random.Random, name: str) -> RawLog:
    """Gzip of several members, cut where no line ends."""
    log = plain(rng, name + ".gz")
    at = rng.randrange(len(log.content))
    log.content = gzip.compress(log.content[:at], mtime=0) + gzip.compress(
        log.content[at:], mtime=0
    )
    return log


def torn(rng: random.Random, name: str) -> RawLog:
    """Gzip of which the end is missing: the whole lines before count, what is left is refused."""
    log = plain(rng, name + ".gz", lines=40)
    packed = gzip.compress(log.content, mtime=0)
    log.content = packed[: rng.randrange(len(packed) // 3, len(packed))]
    whole = zlib.decompressobj(31).decompress(log.content).count(b"\n")
    log.records = {line: r for line, r in log.records.items() if line <= whole}
    if whole == 0:
        # Its header is cut off too, and so is the only record.
        log.records = {}
    log.records[whole + 1] = Record(b"")
    return log


def spoilt(rng: random.Random, name: str) -> RawLog:
    """Gzip whose checksum is wrong, which is known only at its end."""
    log = plain(rng, name + ".gz", lines=6)
    log.content = log.content.rstrip(b"\r\n") + b"\n"
    packed = bytearray(gzip.compress(log.content, mtime=0))
    packed[-8] ^= 1
    log.content = bytes(packed)
    log.records[max(log.records) + 1] = Record(b"")
    return log


def headless(rng: random.Random, name: str) -> RawLog:
    """A file whose header lacks a column: none of its lines can be read."""
    log = _assembled(rng, name, 5, 0.0, HEADER.replace("user_id", "visitor"))
    log.records = {line: Record(r.raw) for line, r in log.records.items()}
    return log


def noise(rng: random.Random, name: str) -> RawLog:
    """Bytes of no meaning; the first line is no header either."""
    content = b"\xff" + rng.randbytes(600)
    lines = enumerate(content.split(b"\n"), 1)
    records = {n: Record(raw) for n, raw in lines if raw.removesuffix(b"\r").strip(b" ")}
    return RawLog(name, content, records)


def empty(rng: random.Random, name: str) -> RawLog:
    """A file without a record, with or without a header."""
    return RawLog(name, rng.choice([b"", b"\n\n", HEADER.encode(), HEADER.encode() + b"\n\n"]))


_KINDS: tuple[Callable[[random.Random, str], RawLog], ...] = (
    plain,
    plain,
    zipped,
    torn,
    spoilt,
    headless,
    noise,
    empty,
)


def fuzzed(seed: int, files: int) -> list[RawLog]:
    """That many files, of each kind some, in folders of hours and outside of them."""
    rng = random.Random(seed)
    made = []
    for n in range(files):
        folder = rng.choice([f"{H0}/", f"{H0 + 1}/", "shop é/", ""])
        made.append(_KINDS[n % len(_KINDS)](rng, f"{folder}{rng.randrange(10)}-{n}.csv"))
    return made
