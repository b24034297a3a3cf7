"""Reading what the hours left: order, range, and damage that is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from report_hours import (
    BASELINE,
    FIRST,
    World,
    decision,
    row,
    write_decision,
    write_evaluation,
    write_finding,
)

from pipeline.errors import HourglassError
from pipeline.hours import HourRange
from pipeline.sealed_json import Record, file_away, read_record, write_record
from training.report import files
from training.report.decisions import decided
from training.report.files import decisions, evaluations, judged_hours, models_as, monitored

HOURS = HourRange(FIRST, FIRST + 10)


def some_decisions(root: Path, *indices: int) -> list[Path]:
    world = World(root)
    live = world.model(BASELINE, FIRST)
    return [
        write_decision(
            root, decision(FIRST + index, "hrnn", world.model("hrnn", FIRST + index), live)
        )
        for index in indices
    ]


def test_newest_first_and_older_ones_only_where_there_are_few(tmp_path: Path) -> None:
    old, first, last, future = some_decisions(tmp_path, -3, 0, 9, 10)
    for at_least, wanted in ((0, [last, first]), (3, [last, first, old]), (9, [last, first, old])):
        results, damaged = decisions(tmp_path / "decisions", HOURS, at_least)
        assert [record.path for record in results] == wanted
        assert damaged == []
    assert future.exists()


def test_a_changed_and_a_truncated_file_are_named_and_the_others_read(tmp_path: Path) -> None:
    changed, cut, unchanged = some_decisions(tmp_path, 0, 1, 2)
    for path, text in ((changed, changed.read_text().replace("hold", "promote")), (cut, "{")):
        path.chmod(0o644)
        path.write_text(text)
    results, damaged = decisions(tmp_path / "decisions", HOURS, 0)
    assert [record.path for record in results] == [unchanged]
    assert [cut.name in damaged[0], changed.name in damaged[1]] == [True, True]
    assert str(tmp_path) not in "".join(damaged)


def test_damage_is_named_alike_wherever_a_file_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the name under which it was written, also where it is filed away meanwhile."""
    folder = tmp_path / "decisions"
    (path,) = some_decisions(tmp_path, 0)
    path.chmod(0o644)
    path.write_text("{")
    name, seen = f"decisions/{path.name}", []

    def filing(path: Path) -> Record:
        if path.is_file():
            file_away(path)
        return read_record(path)

    for reader in (read_record, filing, read_record):
        monkeypatch.setattr(files, "read_record", reader)
        seen.append(decisions(folder, HOURS, 0)[1])
    assert seen[0][0].startswith(f"{name}: changed after it was written")
    assert seen == [seen[0]] * 3
    bare = write_record(folder, f"{FIRST}-m", {"format": 1, "kind": "decision"})
    file_away(bare)
    with pytest.raises(HourglassError, match=f"^decisions/{bare.name}: not a whole decision"):
        decided(read_record(bare))


def test_other_files_of_the_folder_are_passed_over(tmp_path: Path) -> None:
    World(tmp_path).goes_live("bootstrap", World(tmp_path).model(BASELINE, FIRST), FIRST)
    (tmp_path / "decisions" / "notes.json").write_text("{}")
    (tmp_path / "decisions" / "9999-99-99T99-x-0123456789ab.json").write_text("{}")
    assert decisions(tmp_path / "decisions", HOURS, 5) == ([], [])


def test_of_two_findings_about_an_hour_the_later_comes_first(tmp_path: Path) -> None:
    model = World(tmp_path).model("hrnn", FIRST)
    for at in ("2016-03-14T01:10", "2016-03-14T03:00", "2016-03-14T02:00"):
        write_finding(tmp_path, FIRST, model, at=at)
    write_finding(tmp_path, FIRST + 1, model)
    results, damaged = monitored(tmp_path / "monitor", HOURS)
    assert [(each.first, each.at) for each in results] == [
        (FIRST + 1, None), (FIRST, "2016-03-14T03:00"),
        (FIRST, "2016-03-14T02:00"), (FIRST, "2016-03-14T01:10"),
    ]  # fmt: skip
    assert damaged == []


def test_no_folder_is_no_records(tmp_path: Path) -> None:
    assert monitored(tmp_path / "monitor", HOURS) == ([], [])


def test_findings_of_the_version_before_are_read_from_its_folder(tmp_path: Path) -> None:
    model = World(tmp_path).model(BASELINE, FIRST)
    for hour in (FIRST, FIRST + 2):
        write_finding(tmp_path, hour, model)
    (tmp_path / "monitor").rename(tmp_path / "watch")
    write_finding(tmp_path, FIRST + 1, model)
    results, damaged = monitored(tmp_path / "monitor", HOURS)
    assert [result.first for result in results] == [FIRST + 2, FIRST + 1, FIRST]
    assert damaged == []
    assert evaluations(tmp_path / "evaluations", HOURS) == ([], [])


def test_evaluations_in_their_order_and_at_least_the_last(tmp_path: Path) -> None:
    world = World(tmp_path)
    for index in (-5, -2):
        model = world.model(BASELINE, FIRST + index)
        write_evaluation(tmp_path, FIRST + index, {BASELINE: (model, "floor")}, [row(model, 0.1)])
    (last,), _ = evaluations(tmp_path / "evaluations", HOURS)
    assert judged_hours(last).first == FIRST - 2
    for index in (7, 3):
        model = world.model("hrnn", FIRST + index)
        write_evaluation(tmp_path, FIRST + index, {"hrnn": (model, "candidate")}, [row(model, 0.1)])
    results, _ = evaluations(tmp_path / "evaluations", HOURS)
    assert [judged_hours(each).first for each in results] == [FIRST + 3, FIRST + 7]
    assert models_as(results[0], "champion", "floor") == []
    assert len(models_as(results[0], "candidate")) == 1


def test_of_two_evaluations_of_an_hour_the_one_made_later_comes_last(tmp_path: Path) -> None:
    world = World(tmp_path)
    model = world.model(BASELINE, FIRST)
    path = write_evaluation(tmp_path, FIRST, {BASELINE: (model, "floor")}, [row(model, 0.1)])
    other = tmp_path / "evaluations" / "a-later-one" / "evaluation.json"
    other.parent.mkdir()
    other.write_text(path.read_text())
    os.utime(path, (1, 1))
    results, _ = evaluations(tmp_path / "evaluations", HOURS)
    assert [each.frozen_id for each in results] == [path.parent.name, "a-later-one"]


def test_older_and_damaged_evaluations_are_told_apart(tmp_path: Path) -> None:
    contents = {"old": json.dumps({"names": {}, "failures": {}}), "cut": '{"names"', "list": "[]"}
    for name, text in contents.items():
        folder = tmp_path / "evaluations" / name
        folder.mkdir(parents=True)
        (folder / "evaluation.json").write_text(text)
    results, damaged = evaluations(tmp_path / "evaluations", HOURS)
    assert results == []
    assert [
        word in sentence for word, sentence in zip(("cut", "list", "old"), damaged, strict=True)
    ]
    assert "made by an older version" in damaged[-1]
    assert "cannot be read" in damaged[0]
