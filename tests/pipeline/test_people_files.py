"""Files of people: what a line may be, what is left out and named, and when the table stays."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.ingest.metadata.item_user_tables import LoadedMetadata, load_metadata
from pipeline.ingest.people.load import people_have_changed
from pipeline.lake.lake import Lake
from pipeline.lake.tables import PEOPLE
from pipeline.settings.settings import Settings
from pipeline.settings.source import SourceSettings
from pipeline.workspace import CommandContext
from training.cli.main import run
from training.steps.take_in import metadata_step

MARCH = datetime(2024, 3, 1, tzinfo=UTC)
HEADER = "anonymous_id,person_id"


class Site:
    """A lake, and the file or folder that its people come from."""

    def __init__(self, folder: Path) -> None:
        self.landing = folder / "landing"
        self.landing.mkdir()
        self.path = folder / "people.csv"
        self.folder = folder
        self.source: dict[str, Any] = {}
        self.lake = Lake(f"sqlite:///{folder / 'catalog.db'}", folder / "lake")

    @property
    def settings(self) -> Settings:
        source = SourceSettings(path=self.landing, people_path=self.path, **self.source)
        return Settings(work=self.folder, source=source)

    def load(self, *lines: str | dict[str, Any], encoding: str = "utf-8") -> LoadedMetadata:
        if lines:
            texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
            self.path.write_text("\n".join([*texts, ""]), encoding=encoding)
        return load_metadata(self.lake, self.settings)

    def people(self) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in self.lake.arrow(PEOPLE).to_pylist()]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_below_a_header_in_any_order(site: Site, delimiter: str) -> None:
    lines = [
        "person_id,valid_to,anonymous_id,told_at,valid_from",
        "anna,,c1,,2024-03-01",
        "bea,2024-03-01T01:00:00+01:00,c2,,1709247600",
        ",,c3,,",
    ]
    done = site.load(*(line.replace(",", delimiter) for line in lines))
    assert done.faults == ()
    assert site.people() == [
        ("c1", "anna", MARCH, None),
        ("c2", "bea", datetime(2024, 2, 29, 23, tzinfo=UTC), MARCH),
    ]


def test_json_lines_and_numbers_are_ids_as_those_of_events(site: Site) -> None:
    done = site.load(
        {"anonymous_id": 7, "person_id": 12.50, "valid_from": 1709251200, "valid_to": None},
        {"anonymous_id": " ç ü ", "person_id": "🙂"},
        {"anonymous_id": "c", "person_id": None},
        {"anonymous_id": "d", "person_id": " "},
    )
    assert done.faults == ()
    assert site.people() == [("7", "12.5", MARCH, None), ("ç ü", "🙂", None, None)]


def test_bad_lines_are_left_out_and_named_and_all_else_counts(site: Site) -> None:
    done = site.load(
        {"anonymous_id": "a", "person_id": "p"},
        "{not json",
        {"person_id": "p"},
        {"anonymous_id": "b"},
        {"anonymous_id": "", "person_id": "p"},
        {"anonymous_id": "c", "person_id": "p", "valid_form": 1},
    )
    assert done.faults == (
        f"{site.path}: line 2: not valid JSON",
        f"{site.path}: line 3: no anonymous_id",
        f"{site.path}: line 4: no person_id: null withdraws it",
        f"{site.path}: line 5: no anonymous_id",
        f"{site.path}: line 6: unknown key 'valid_form'",
    )
    assert site.people() == [("a", "p", None, None)]
    # The next time they are no news, and nothing is committed.
    before = site.lake.snapshot(PEOPLE)
    again = site.load()
    assert (again.faults, again.former_faults) == ((), done.faults)
    assert site.lake.snapshot(PEOPLE) == before


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("a,p,5,5", "valid_to is not after valid_from"),
        ("a,p,noon,", "valid_from = 'noon' is not a number, nor an ISO 8601 time"),
        ("a,p,,2024-13-01", "valid_to = '2024-13-01' is not a number, nor an ISO 8601 time"),
        ("a,p,1e30,", "valid_from = '1e30' is outside the years 1 to 9999"),
        ("a,p", "2 fields where 4 were expected"),
        ("a," + "p" * 513 + ",,", "person_id is longer than 512 characters"),
        ('a,"p,,', "not a line of a CSV file: unexpected end of data"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(site: Site, line: str, fault: str) -> None:
    done = site.load(f"{HEADER},valid_from,valid_to", "b,q,,", line)
    assert done.faults == (f"{site.path}: line 3: {fault}",)
    assert site.people() == [("b", "q", None, None)]


@pytest.mark.parametrize(
    ("source", "text", "time"),
    [
        ({"time_unit": "ms"}, "1709251200000", MARCH),
        ({"time_unit": "iso8601"}, "2024-03-01T00:00:00Z", MARCH),
        ({"timezone": "Europe/Berlin"}, "2024-03-01T01:00:00", MARCH),
        ({"time_format": "%d.%m.%Y %H:%M"}, "01.03.2024 00:00", MARCH),
        ({"time_format": "%d.%m.%Y %H:%M"}, "2024-03-01T00:00:00Z", MARCH),
        ({"epoch": "2024-03-01T00"}, "0", MARCH),
        ({"nothing": ("NULL",)}, "NULL", None),
    ],
)
def test_times_are_read_as_those_of_the_log(
    site: Site, source: dict[str, Any], text: str, time: datetime | None
) -> None:
    site.source = source
    assert site.load(f"{HEADER},valid_from", f"a,p,{text}").faults == ()
    assert site.people() == [("a", "p", time, None)]


def test_other_settings_of_the_log_have_the_file_read_again(site: Site) -> None:
    site.load(f"{HEADER},valid_from", "a,p,1709251200", "b, q ,")
    site.source = {"time_unit": "ms", "trim": False}
    site.load()
    assert site.people() == [
        ("a", "p", datetime.fromtimestamp(1709251.2, UTC), None),
        ("b", " q ", None, None),
    ]


def test_both_sides_of_a_contradiction_are_named_until_somebody_settles_it(site: Site) -> None:
    header = f"{HEADER},valid_from,told_at"
    lines = [header, "a,p,1709251200,5", "b,q,,", "a,r,1709251200,5", "a,p,1709251200,5"]
    done = site.load(*lines)
    assert done.faults == (
        f"{site.path}: line 2 and {site.path}: line 4 contradict each other about 'a' from "
        "2024-03-01T00:00:00+00:00 on, both told at 1970-01-01T00:00:05+00:00: neither counts; a "
        "record with a later told_at corrects them",
    )
    assert site.people() == [("b", "q", None, None)]
    done = site.load(*lines, "a,s,1709251200,6")
    assert done.faults == ()
    assert site.people() == [("a", "s", MARCH, None), ("b", "q", None, None)]


def test_many_faults_are_counted(site: Site) -> None:
    twice = [f"{n},{person}" for n in range(8) for person in "pq"]
    done = site.load(HEADER, "a,p", *[",p"] * 9, *twice)
    assert done.faults[5] == "people: 4 more lines of this kind"
    assert done.faults[-1] == "people: 3 more contradictions of this kind"
    assert len(done.faults) == 12


def test_a_folder_is_read_as_a_whole_however_its_lines_are_split(site: Site) -> None:
    site.path = site.folder / "people"
    (site.path / "2024").mkdir(parents=True)
    (site.path / "2024" / "b.csv.gz").write_bytes(
        gzip.compress(f"{HEADER},told_at\na,late,9\nb,q,\n".encode())
    )
    (site.path / "a.jsonl").write_text('{"anonymous_id": "a", "person_id": "early"}\n')
    (site.path / ".hidden").write_text("not looked at")
    (site.path / "empty.csv").touch()
    assert site.load().faults == ()
    assert site.people() == [("a", "late", None, None), ("b", "q", None, None)]
    (site.path / "2024" / "b.csv.gz").unlink()
    site.load()
    assert site.people() == [("a", "early", None, None)]


def test_other_encodings_are_those_of_the_log(site: Site) -> None:
    site.source = {"encoding": "latin-1"}
    site.load(HEADER, "a,Café", encoding="latin-1")
    assert site.people() == [("a", "Café", None, None)]


def assert_left(site: Site, fault: str) -> None:
    """The table stays as it was, each time anew."""
    before = site.people()
    assert before
    for _ in range(2):
        assert site.load().faults == (fault,)
        assert site.people() == before


def test_a_file_that_is_gone_withdraws_nobody(site: Site) -> None:
    site.load(HEADER, "a,p")
    site.path.unlink()
    assert_left(site, f"{site.path}: no such file or folder: see source.people_path")
    site.path.mkdir()
    assert_left(
        site,
        f"{site.path}: there is no file in it, or it cannot be read: see source.people_path",
    )


def test_a_file_that_is_cut_off_withdraws_nobody(site: Site) -> None:
    site.load(HEADER, "a,p", "b,q")
    whole = gzip.compress("\n".join([HEADER, *(f"{n},p{n * n}" for n in range(999))]).encode())
    site.path.write_bytes(whole[: len(whole) // 2])
    (fault,) = site.load().faults
    assert fault.startswith(f"{site.path}: cannot be read: gzip stream is cut off after line ")
    assert_left(site, fault)


@pytest.mark.parametrize(
    ("header", "wrong"),
    [
        ("anonymous_id,person", "it has 'person'"),
        ("anonymous_id,valid_from", "they are anonymous_id, valid_from"),
        ("anonymous_id,person_id,person_id", "they are anonymous_id, person_id, person_id"),
    ],
)
def test_a_header_of_something_else_withdraws_nobody(site: Site, header: str, wrong: str) -> None:
    site.load(HEADER, "a,p")
    site.path.write_text(f"{header}\n")
    assert_left(
        site,
        f"{site.path}: its columns must be anonymous_id and person_id, each once, and none but "
        f"valid_from, valid_to, told_at beside them; {wrong}",
    )


def test_a_file_among_the_logs_is_refused(tmp_path: Path) -> None:
    for people in (tmp_path, tmp_path / "crm" / "people.csv"):
        with pytest.raises(ValueError, match=r"all files of which are logs: put it elsewhere"):
            SourceSettings(path=tmp_path, people_path=people)
    SourceSettings(path=tmp_path / "logs", people_path=tmp_path / "logs of people")


def test_a_link_that_leads_out_of_the_folder_is_refused(site: Site) -> None:
    site.load(HEADER, "a,p")
    outside = site.path
    leaves = "a link that leads out of source.path: put the file itself there"
    site.path = site.folder / "people"
    site.path.mkdir()
    (site.path / "link.csv").symlink_to(outside)
    assert_left(
        site,
        f"{site.path}: link.csv: {leaves}: nothing of source.people_path was loaded",
    )


def test_an_empty_file_withdraws_all_and_says_so(site: Site) -> None:
    site.load(HEADER, "a,p", "b,q")
    site.path.write_text("")
    (note,) = site.load().notes
    assert note == (
        "people: 0 intervals in which an id is a person, 2 before; 2 ids changed, which makes "
        "0 hours stale"
    )
    assert site.people() == []


def test_the_step_of_the_loop_says_what_changed_and_what_was_left_out(site: Site) -> None:
    ctx = CommandContext(site.settings, MARCH)
    site.path.write_text(f"{HEADER}\na,p\n,q\n")
    changed = (
        "people: 1 interval in which an id is a person, 0 before; 1 id changed, which makes "
        "0 hours stale"
    )
    left_out = f"left out: {site.path}: line 3: no anonymous_id"
    assert metadata_step(ctx).line == f"none; {changed}; {left_out}"
    assert metadata_step(ctx).line == f"none; {left_out}"


def test_the_file_in_the_docs_is_one(site: Site) -> None:
    page = Path(__file__).parents[2] / "docs" / "raw-logs.md"
    text = page.read_text(encoding="utf-8").partition("```text\n")[2].partition("```")[0]
    assert site.load(text).faults == ()
    assert [row[:2] for row in site.people()] == [
        ("cookie-81f3", "anna"),
        ("tablet-22", "anna"),
        ("till-7", "anna"),
    ]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with settings for a small log and its people; commands run in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOURGLASS_CONFIG", raising=False)
    (tmp_path / "raw").mkdir()
    log = ["event_time,user_id,item_id", "2024-03-01T01:10,c,i", "2024-03-01T01:20,anna,i"]
    (tmp_path / "raw" / "log.csv").write_text("\n".join(log))
    (tmp_path / "people.csv").write_text(f"{HEADER}\n")
    (tmp_path / "hourglass.yaml").write_text(
        "source: {name: delimited, path: raw, time_unit: iso8601, people_path: people.csv}\n"
    )
    return tmp_path


def test_the_commands_load_people_say_so_and_exit_1_where_a_line_is_bad(
    shop: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["backfill"]) == 0
    (shop / "people.csv").write_text(f"{HEADER}\nc,anna\n,bea\n")
    capfd.readouterr()
    assert run(["ingest"]) == 1
    shown = capfd.readouterr()
    assert "1 id changed, which makes 1 hour stale" in shown.out
    bad_line = "people.csv: line 3: no anonymous_id"
    assert f"items, users, people: left out: {bad_line}" in shown.err
    assert run(["backfill", "--plan"]) == 0
    assert "people changed" in capfd.readouterr().out
    assert run(["backfill", "--json"]) == 0
    facts = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert facts["filled"] == ["2024-03-01T01 to 2024-03-01T03"]
    assert facts["ingest"]["metadata_faults"] == [bad_line]
    assert facts["ingest"]["metadata_notes"] == []


def test_whether_anything_has_changed_is_seen_without_changing_it(site: Site) -> None:
    site.path.write_text(f"{HEADER}\nc1,anna\n")
    before = site.lake.snapshots()
    assert people_have_changed(site.lake, site.settings)
    assert site.lake.snapshots() == before
    site.load()
    assert not people_have_changed(site.lake, site.settings)
    site.path.write_text(f"{HEADER}\nc1,ben\n")
    assert people_have_changed(site.lake, site.settings)
    nobody = Settings(work=site.folder, source=SourceSettings(path=site.landing))
    assert people_have_changed(site.lake, nobody)
    assert not people_have_changed(Lake(f"sqlite:///{site.folder / 'new.db'}", site.folder), nobody)


def test_that_nobody_is_anybody_is_remembered_with_what_is_wrong(site: Site) -> None:
    first = site.load(HEADER, "d,e,f")
    assert len(first.faults) == 1
    again = site.load()
    assert (again.faults, len(again.former_faults)) == ((), 1)
    assert again.notes == ()
