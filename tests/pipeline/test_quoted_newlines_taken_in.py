"""Records whose quoted fields hold line ends: in the lake, by whatever way they came there."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from fuzzed_logs import H0
from landing_place import CLOCK, COUNTS, Place
from staging import NO_SPARK
from test_engines import ON_DISK, tables

from pipeline.engine import on_disk
from pipeline.ingest.spans import plan
from pipeline.ingest.summary import refused_lines
from pipeline.lake.tables import EVENTS, QUARANTINE
from pipeline.sessions.backfill import plan_backfill
from pipeline.sources.delimited import OPEN_QUOTE
from training.cli.main import run

NOT_CLOSED = OPEN_QUOTE.reason


def set_newlines(place: Place, quoted: bool) -> None:
    source = place.settings.source.model_copy(update={"quoted_newlines": quoted})
    place.settings = place.settings.model_copy(update={"source": source})


NOW = H0.index * 3600
#: The second line of its first record says of itself that it is one.
INVENTING = f'{NOW},u,a,,k1,"two\n{NOW},nobody,b,,k2,\nlines"'


def test_an_event_that_never_happened_goes_when_the_setting_comes(tmp_path: Path) -> None:
    place = Place(tmp_path, NO_SPARK)
    place.put("a.csv", INVENTING, f"{NOW},v,c,,k3,")
    before = place.ingest()
    assert [row[1] for row in place.events()] == ["nobody", "v"]
    assert before.open_quotes == 1
    assert "set source.quoted_newlines to true" in refused_lines(before)
    set_newlines(place, quoted=True)
    assert plan_backfill(place.lake, place.settings, CLOCK, None).read_again == 1
    after = place.ingest()
    assert (after.read_again, after.records, after.quarantined) == (1, 2, 0)
    assert [(row[1], row[4], row[6]) for row in place.events()] == [
        ("u", f"two\n{NOW},nobody,b,,k2,\nlines", 2),
        ("v", "", 5),
    ]
    assert not place.rows(QUARANTINE)
    set_newlines(place, quoted=False)
    place.ingest()
    assert [row[1] for row in place.events()] == ["nobody", "v"]


def test_a_file_that_grows_within_quotes_ends_as_if_it_had_been_whole(tmp_path: Path) -> None:
    place = Place(tmp_path, NO_SPARK)
    set_newlines(place, quoted=True)
    path = place.put("a.csv", INVENTING, f"{NOW},v,c,,k3,")
    content = path.read_bytes()
    for size in (content.index(b"lines"), content.index(b"two\n") + 4, len(content)):
        path.write_bytes(content[:size])
        os.utime(path, (NOW, NOW + size))
        place.ingest()
    assert [row[1] for row in place.events()] == ["u", "v"]
    assert place.accounts() == {"a.csv": (2, 2, 0, 0)}
    assert not place.rows(QUARANTINE)


@pytest.mark.parametrize(
    ("settings", "hints"),
    [({}, 1), ({"quote": "'"}, 0), ({"quote": None}, 0), ({"quoted_newlines": True}, 0)],
    ids=str,
)
def test_whom_the_setting_may_help_is_told_of_it(
    tmp_path: Path, settings: dict[str, Any], hints: int
) -> None:
    place = Place(tmp_path, NO_SPARK)
    source = place.settings.source.model_copy(update=settings)
    place.settings = place.settings.model_copy(update={"source": source})
    place.put("a.csv", f'{NOW},u,a,,k1,"two', 'lines"')
    summary = place.ingest()
    assert summary.open_quotes == hints
    assert refused_lines(summary).count("set source.quoted_newlines to true") == hints


def random_log(rng: random.Random, nth: int) -> tuple[bytes, dict[int, str | None]]:
    """A file, and of each record, by its line, who did it; None where it is refused."""
    content, records, line = b"event_time,user_id,item_id,price,id,device\n", {}, 2
    for number in range(rng.randrange(40)):
        user = f"u{nth}-{number}"
        text = "".join(rng.choice(['""', "\n", ",", "x", "\r\n"]) for _ in range(rng.randrange(30)))
        head = f"{NOW},{user},i,1,{user},".encode()
        kind = rng.randrange(8)
        if kind == 0:
            # Whatever quote follows is that of a field, and so is out of place.
            content += head + b'"open\n'
            records[line], line = None, line + 1
            user, head = f"{user}b", head.replace(user.encode(), f"{user}b".encode())
            text = "closes"
        elif kind == 1:
            content += b"\n"
            line += 1
        raw = head + f'"{text}"\n'.encode()
        if kind == 2:
            raw = raw.replace(b",i,", b",,")
        records[line] = None if kind == 2 else user
        content, line = content + raw, line + raw.count(b"\n")
    return content, records


@pytest.mark.parametrize("seed", range(3))
def test_every_record_is_accounted_for(tmp_path: Path, seed: int) -> None:
    place = Place(tmp_path, NO_SPARK)
    set_newlines(place, quoted=True)
    rng = random.Random(seed)
    expected = {}
    for nth in range(20):
        content, expected[f"{nth}.csv"] = random_log(rng, nth)
        (place.landing / f"{nth}.csv").write_bytes(content)
    summary = place.ingest()
    assert {
        (name, line): user for name, log in expected.items() for line, user in log.items() if user
    } == {(row["source_file"], row["line"]): row["user_id"] for row in place.rows(EVENTS)}
    assert place.refused() == sorted(
        (name, line) for name, log in expected.items() for line, user in log.items() if not user
    )
    for name, (n, accepted, duplicates, quarantined) in place.accounts().items():
        assert n == accepted + duplicates + quarantined == len(expected[name])
    assert all(getattr(summary, name) for name in COUNTS if name != "duplicates")


def test_the_tables_do_not_depend_on_who_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In spans of few bytes, by several processes, as whole by this one."""
    monkeypatch.setattr(on_disk, "_BYTES_PER_WORKER", 1)
    monkeypatch.setattr(on_disk, "_BYTES_PER_JOB", 200)
    monkeypatch.setattr(on_disk, "usable_cores", lambda: 3)
    monkeypatch.setattr(plan, "SPAN_BYTES", 64)
    places = [
        Place(tmp_path / name, compute) for name, compute in (("a", NO_SPARK), ("many", ON_DISK))
    ]
    for place in places:
        set_newlines(place, quoted=True)
        rng = random.Random(7)
        for nth in range(4):
            path = place.landing / f"{nth}.csv"
            path.write_bytes(random_log(rng, nth)[0])
            os.utime(path, (NOW, NOW))
        assert place.ingest().accepted > 20
    assert tables(places[0]) == tables(places[1])


# By the commands

REVIEWS = """at,reader,book,stars,review
2026-03-01T10:00:00Z,anna,dune,5,"Read it twice.

""Fear is the mind-killer"" - yes."
2026-03-01T10:05:00Z,ben,emma,4,short
2026-03-01T10:07:00Z,cleo,dune,2,"never closed
2026-03-01T10:09:00Z,dora,emma,3,"one
2026-03-01T10:10:00Z,eve,ivanhoe,1,two"
"""


def test_reviews_are_taken_in_by_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOURGLASS_CONFIG", raising=False)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "reviews.csv").write_text(REVIEWS)
    settings = (
        "source:\n  name: delimited\n  path: raw\n  time_unit: iso8601\n"
        "  columns: {event_time: at, user_id: reader, item_id: book, value: stars,"
        " context: {review: review}}\n"
    )

    def ran(*arguments: str, settings: str) -> str:
        (tmp_path / "hourglass.yaml").write_text(settings)
        assert run(arguments) == 0
        return capfd.readouterr().out

    out = ran("ingest", settings=settings)
    assert "6 records = 2 accepted" in out
    assert "set source.quoted_newlines to true" in out
    settings += "  quoted_newlines: true\n"
    assert "since other settings read it" in ran("backfill", "--plan", settings=settings)
    facts = json.loads(ran("ingest", "--json", settings=settings))
    assert [facts[name] for name in ("records", "accepted", "quarantined")] == [4, 3, 1]
    assert facts["reasons"] == {NOT_CLOSED: 1}
    assert facts["open_quotes"] == 0
