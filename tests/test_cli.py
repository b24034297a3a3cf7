"""Wrong input at the command line: one clear sentence, a non-zero exit, never a traceback."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import _plan_sentence
from pipeline.hours import Hour, HourRange
from pipeline.sessions.backfill import REFUSED, BackfillPlan, PlannedRange
from training.cli.main import run

EVENTS = "ts;customer;sku\n1700000000;anna;shoe\n"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with settings for a small delimited log; the commands run in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOURGLASS_CONFIG", raising=False)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "clicks.csv").write_text(EVENTS)
    (tmp_path / "hourglass.yaml").write_text(
        "source:\n  name: delimited\n  path: raw\n  delimiter: ';'\n"
        "  columns: {event_time: ts, user_id: customer, item_id: sku}\n"
        "spark: {master: 'local[1]', driver_memory: 1g, shuffle_partitions: 2}\n"
    )
    return tmp_path


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and the sentence of a command that must fail."""
    code = run(arguments)
    said = capfd.readouterr()
    sentence = said.err.strip().splitlines()[-1]
    assert "Traceback" not in said.err + said.out
    assert sentence.startswith("hourglass: ")
    assert code != 0
    return code, sentence


def change(shop: Path, old: str, new: str) -> None:
    settings = shop / "hourglass.yaml"
    text = settings.read_text()
    assert old in text
    settings.write_text(text.replace(old, new))


def test_an_unknown_key_is_named(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(shop, "delimiter:", "delimeter:")
    code, sentence = refused(capfd, "ingest")
    assert code == 2
    assert "hourglass.yaml: unknown key 'source.delimeter'" in sentence


def test_a_wrong_value_is_shown(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(shop, "spark:", "dataset: {window: ten hours}\nspark:")
    code, sentence = refused(capfd, "dataset")
    assert code == 2
    assert "dataset.window = 'ten hours'" in sentence
    assert "10h" in sentence


@pytest.mark.parametrize(
    "arguments",
    [
        ("--config", "s3://bucket/h.yaml", "where"),
        ("demo", "--work", "s3://bucket/lake"),
        ("demo", "--source", "movielens", "--raw", "s3://bucket/raw"),
        ("drill", "--work", "s3://bucket/drill"),
        ("recommend", "--users", "s3://bucket/users.csv"),
        ("train", "--model", "s3://bucket/model.yaml"),
    ],
    ids=lambda arguments: "-".join(arguments[:-1]),
)
def test_an_object_store_is_refused_before_a_folder_is_made(
    shop: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, sentence = refused(capfd, *arguments)
    assert code == 2
    assert "must be a path on this machine" in sentence
    assert sorted(path.name for path in shop.iterdir()) == ["hourglass.yaml", "raw"]


@pytest.mark.parametrize("command", ["ingest", "simulate", "backfill", "doctor", "train"])
def test_a_lake_in_an_object_store_is_refused_before_a_folder_is_made(
    shop: Path, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    change(shop, "source:", "work: s3://bucket/lake\nsource:")
    code, sentence = refused(capfd, command)
    assert code == 2
    assert "work = 's3://bucket/lake': must be a path on this machine" in sentence
    assert sorted(path.name for path in shop.iterdir()) == ["hourglass.yaml", "raw"]


def test_settings_that_are_not_there(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, sentence = refused(capfd, "--config", "no.yaml", "ingest")
    assert code == 2
    assert "no.yaml: cannot read the settings" in sentence


def test_a_missing_column_is_named(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(shop, "item_id: sku", "item_id: article")
    _, sentence = refused(capfd, "ingest")
    assert "clicks.csv" in sentence
    assert "article" in sentence
    assert "sku" in sentence


def test_a_folder_that_is_not_there(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(shop, "path: raw", "path: elsewhere")
    code, sentence = refused(capfd, "ingest")
    assert code == 2
    assert "elsewhere: no such file or folder" in sentence


def test_a_folder_that_cannot_be_read(
    shop: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def forbidden(folder: str | Path) -> Any:
        if Path(folder).name == "raw":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    # Root may read anything, so the refusal is put in by hand.
    monkeypatch.setattr(os, "scandir", forbidden)
    code, sentence = refused(capfd, "ingest")
    assert code == 2
    assert sentence.endswith("raw: cannot be read: Permission denied")


def test_no_file_matches(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(shop, "path: raw", "path: raw\n  pattern: '*.gz'")
    code, sentence = refused(capfd, "ingest")
    assert code == 2
    assert "no file matches '*.gz'" in sentence


@pytest.mark.parametrize("hour", ["2016-03-14", "14.3.2016 13:00", "2016-03-14T13:30", "tomorrow"])
def test_an_hour_in_the_wrong_format(
    shop: Path, capfd: pytest.CaptureFixture[str], hour: str
) -> None:
    code, sentence = refused(capfd, "sessionize", "--from", hour, "--to", "2016-03-15T00")
    assert code == 2
    assert repr(hour) in sentence
    assert "2016-03-14T13" in sentence


def test_an_empty_range(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hour = "2016-03-14T13"
    code, sentence = refused(capfd, "sessionize", "--from", hour, "--to", hour)
    assert code == 2
    assert "is empty" in sentence


def test_a_range_that_ends_before_it_starts(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ("--from", "2016-03-14T13", "--to", "2016-03-13T13")
    code, sentence = refused(capfd, "validate", *arguments)
    assert code == 2
    assert "ends before it starts" in sentence


def test_no_java(
    shop: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(shop / "no-java"))
    change(shop, "spark: {", "spark: {from_mib: 0, ")
    _, sentence = refused(capfd, "ingest")
    assert "no Java was found" in sentence
    assert "hourglass doctor --fix" in sentence


def test_an_unknown_command_and_a_missing_option(
    shop: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, sentence = refused(capfd, "sesionize")
    assert code == 2
    assert "'sesionize'" in sentence
    code, sentence = refused(capfd, "sessionize", "--from", "2016-03-14T13")
    assert code == 2
    assert "--to" in sentence


def test_steps_out_of_order_say_what_to_run_first(
    shop: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "hourglass ingest" in refused(capfd, "dataset")[1]
    assert "hourglass dataset" in refused(capfd, "train")[1]
    assert "hourglass gate" in refused(capfd, "promote")[1]
    assert "nothing is live" in refused(capfd, "rollback")[1]


def test_a_plan_on_an_empty_lake_lists_what_waits_and_does_nothing(
    shop: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = run(["backfill", "--plan", "--json"])
    said = json.loads(capfd.readouterr().out.strip().splitlines()[-1])
    assert code == 0
    assert said == {
        "hours": 0,
        "people_changed": False,
        "refused": [],
        "ranges": [],
        "waiting_files": ["clicks.csv"],
        "unreadable": [],
        "read_again": 0,
        "outdated": [],
        "unknown_settings": 0,
        "no_arrival": [],
    }
    again = run(["backfill", "--plan", "--json"])
    assert again == 0
    assert json.loads(capfd.readouterr().out.strip().splitlines()[-1]) == said


def test_a_plan_says_in_order_what_would_be_done(
    shop: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def plan() -> str:
        assert run(["backfill", "--plan"]) == 0
        return capfd.readouterr().out.strip().splitlines()[-1]

    waits = "1 file would be taken in first, clicks.csv{}, and may change more hours"
    nothing = "beside that, no hour is missing or has changed"
    assert plan() == f"{waits.format('')}; {nothing}"
    assert run(["ingest"]) == 0
    filled = "1 hour is missing or has changed and would be filled"
    assert plan() == filled
    change(shop, "spark:", "ingest: {max_id_chars: 9}\nspark:")
    again = waits.format(" (1 again, since other settings read it)")
    assert plan() == f"{again}; {filled}"


def test_a_plan_tells_refused_hours_from_those_it_would_fill() -> None:
    hour = Hour.parse("2016-03-14T13")
    ranges = (
        PlannedRange(HourRange(hour, hour + 3), "not filled", 9),
        PlannedRange(HourRange(hour + 3, hour + 4), REFUSED, 2),
    )
    sentence = _plan_sentence(BackfillPlan((), ("a.csv: Permission denied",), ranges))
    assert sentence == (
        "3 hours are missing or have changed and would be filled; 1 hour failed a critical "
        "expectation and would not be filled, nor what follows from it: mend the data, ingest and "
        "validate them again, or let the hour pass with `hourglass validate --from 2016-03-14T16 "
        '--to 2016-03-14T17 --accept "why"`; unreadable: a.csv: Permission denied'
    )


def test_a_plan_tells_people_that_come_from_people_that_go() -> None:
    nothing = "; beside that, no hour is missing or has changed"
    come = _plan_sentence(BackfillPlan((), (), ()), people_changed=True)
    go = _plan_sentence(BackfillPlan((), (), ()), people_changed=True, people_withdrawn=True)
    more = "first, and may change more hours"
    assert come == f"source.people_path would be loaded {more}{nothing}"
    assert go == (
        f"source.people_path is not set any more: all people would be withdrawn {more}{nothing}"
    )


def test_the_future_cannot_be_computed(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ("--from", "2016-03-14T13", "--to", "9999-01-01T00")
    code, sentence = refused(capfd, "sessionize", *arguments)
    assert code == 2
    assert "is in the future" in sentence


def test_global_options_may_stand_after_the_command(
    shop: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = run(["doctor", "--json", "--config", "hourglass.yaml"])
    said = capfd.readouterr()
    checks = json.loads(said.out.strip().splitlines()[-1])["checks"]
    assert code in (0, 1)
    assert any("Java" in check["name"] for check in checks)


def test_an_unforeseen_error_is_one_line_unless_debugging(
    shop: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the disk\nis full")

    monkeypatch.setattr("pipeline.doctor.run_doctor", broken)
    code, sentence = refused(capfd, "doctor")
    assert code == 1
    assert sentence == "hourglass: RuntimeError: the disk is full (--debug shows where)"
    with pytest.raises(RuntimeError):
        run(["doctor", "--debug"])


def test_the_simulated_site_writes_in_no_log_of_others(
    shop: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, sentence = refused(capfd, "simulate", "--hours", "2")
    assert code == 2
    assert "source.name is delimited: the simulated site would write among its logs" in sentence
    assert [path.name for path in (shop / "raw").iterdir()] == ["clicks.csv"]


def test_a_demo_of_logs_that_are_not_there_leaves_the_last_one_as_it_was(
    shop: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (shop / "work").mkdir()
    (shop / "work" / "hourglass.yaml").write_text("# of an earlier demo\n")
    code, sentence = refused(capfd, "demo", "--source", "wikipedia", "--raw", "nowhere")
    assert code == 2
    assert "--raw nowhere: no such file or folder" in sentence
    assert (shop / "work" / "hourglass.yaml").read_text() == "# of an earlier demo\n"
    assert [path.name for path in (shop / "work").iterdir()] == ["hourglass.yaml"]


def test_the_loop_says_why_records_were_refused_and_how_to_go_on(
    shop: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Half of an hour's records lack their user: the hour is critical."""
    lines = [f"{1_700_000_000 + nth};{'anna' if nth % 2 else ''};shoe" for nth in range(200)]
    (shop / "raw" / "clicks.csv").write_text("\n".join(["ts;customer;sku", *lines, ""]))
    assert run(["loop"]) == 1
    said = capfd.readouterr()
    assert "100 accepted + 0 duplicates + 100 quarantined (no user_id 100)" in said.err + said.out
    sentence = said.err.strip().splitlines()[-1]
    assert "`hourglass validate --from 2023-11-14T22 --to 2023-11-14T23 --accept" in sentence


def test_a_guess_ends_with_one_mark(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _, sentence = refused(capfd, "lopp")
    assert "'loop'? See `hourglass --help`." in sentence


def test_a_wrong_option_is_sent_to_the_help_of_its_command(
    shop: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _, sentence = refused(capfd, "tune", "--as-of", "2026-01-05T00")
    assert "No such option: --as-of. See `hourglass tune --help`." in sentence


@pytest.mark.parametrize(("most", "least"), [(99, 100), (29, 100)])
def test_too_small_a_sample_to_judge_by_is_refused(
    shop: Path, capfd: pytest.CaptureFixture[str], most: int, least: int
) -> None:
    settings = shop / "hourglass.yaml"
    settings.write_text(settings.read_text() + f"evaluation: {{max_users: {most}}}\n")
    code, sentence = refused(capfd, "where")
    assert code == 2
    assert f"evaluation.max_users: {most} is below {least}" in sentence
