"""What a run under a scheduler says of its hours, without a scheduler."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from benchmarks.live.kills import Kill, table_of_kills, times_of_kills
from benchmarks.live.processes import Processes, end_all
from benchmarks.live.site import HourRecord, Site
from benchmarks.live.summary import percentile


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 10.0), (0.95, 19.0), (0.951, 20.0), (1.0, 20.0), (0.01, 1.0)]
)
def test_a_percentile_is_a_value_that_was_seen(share: float, value: float) -> None:
    assert percentile([float(n) for n in range(20, 0, -1)], share) == value


def test_without_values_there_is_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_kills_are_drawn_within_the_run_and_again_the_same() -> None:
    times = times_of_kills(7, 50, 1000.0)
    assert times == sorted(times) == times_of_kills(7, 50, 1000.0)
    assert len(times) == 50
    assert times[0] > 0
    assert times[-1] < 1000
    assert times != times_of_kills(8, 50, 1000.0)


def test_kills_are_counted_by_what_was_killed() -> None:
    victims = ["scheduler", "command: retrain.train", "command: retrain.gate"]
    kills = [Kill(0.0, victim, "python", started_again=False) for victim in victims]
    assert table_of_kills(kills).splitlines()[2:] == ["| command | 2 |", "| scheduler | 1 |"]


def publish(site: Site, hour_after: str, at_s: float) -> None:
    path = site.work / "recommendations" / hour_after / "summary.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    os.utime(path, (at_s, at_s))


def test_an_hour_is_served_by_its_own_list_or_by_a_later_one(tmp_path: Path) -> None:
    site = Site(tmp_path, hours=3)
    first, second, third = site.to_land
    for hour in site.to_land:
        site.records[hour] = HourRecord(hour, landed_s=100.0)
    publish(site, str(second + 1), 150.0)
    site.look()
    assert site.records[first].published_s is None
    assert site.records[first].served_s == site.records[second].served_s == 150.0
    assert site.records[third].served_s is None
    publish(site, str(third + 1), 190.0)
    site.look()
    assert site.records[first].served_s == 150.0
    assert site.records[third].published_s == site.records[third].served_s == 190.0
    assert not site.is_done()  # none was judged
    (site.work / "judged").mkdir()
    for hour in site.to_land:
        (site.work / "judged" / f"{hour}.json").write_text("{}")
    site.look()
    assert site.is_done()


def test_processes_of_a_run_are_known_when_their_parent_is_gone() -> None:
    """A shell starts a sleeper and ends: the sleeper is found, and ended with the others."""
    marker = ("HOURGLASS_TEST_MARKER", uuid.uuid4().hex)
    environment = os.environ | {marker[0]: marker[1], "AIRFLOW_CTX_TASK_ID": "train"}
    environment |= {"AIRFLOW_CTX_DAG_ID": "retrain", "AIRFLOW_CTX_DAG_RUN_ID": "r"}
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()'], stdin=0)"
    held_open, ours = os.pipe()
    subprocess.run(
        [sys.executable, "-c", code], env=environment, stdin=held_open, check=True, timeout=60
    )
    os.close(held_open)
    processes = Processes(marker)
    try:
        processes.look()
        (sleeper,) = processes.alive("command")
        assert (sleeper.task, sleeper.run) == ("retrain.train", "r")
        assert set(processes.cpu_by(lambda each: each.task)) == {"retrain.train"}
        assert end_all(processes, patience_s=30) == []
        assert processes.alive() == []
    finally:
        os.close(ours)
