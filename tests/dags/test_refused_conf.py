"""What a run of `sessions_hourly` says of a configuration that it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from workplace import workplace

ASK = """
import json, sys
from datetime import UTC, datetime
from types import SimpleNamespace
from airflow.sdk.exceptions import AirflowFailException
sys.path.append("dags")
from hourglass_hours import first_hour, named_hour
answers = []
for conf in json.loads(sys.argv[1]):
    run = SimpleNamespace(
        conf=conf, logical_date=None, data_interval_start=None, data_interval_end=None,
        run_after=datetime(2026, 1, 8, 13, 20, tzinfo=UTC),
    )
    try:
        answer = first_hour(run)
    except AirflowFailException as error:
        answer = f"refused: {error}"
    answers.append([answer, named_hour(run)])
print("ANSWERS" + json.dumps(answers))
"""
KNOWN = """the only one is 'hour', as in {"hour": "2016-03-14T13"}"""
CASES: list[tuple[dict[str, Any] | None, str, str | None]] = [
    (None, "2026-01-08T12", "2026-01-08T12"),
    ({}, "2026-01-08T12", "2026-01-08T12"),
    ({"hour": None}, "2026-01-08T12", "2026-01-08T12"),
    ({"hour": "2026-01-08T05"}, "2026-01-08T05", "2026-01-08T05"),
    (
        {"hour": "2027-01-08T05"},
        "refused: 2027-01-08T05 to 2027-01-08T06: not hours that were over at 2026-01-08T13:20 UTC,"
        " when this run was due; name a past hour",
        "2027-01-08T05",
    ),
    (
        {"hour": "2026-02-30T04"},
        "refused: hour: '2026-02-30T04' is no hour such as 2016-03-14T13",
        None,
    ),
    ({"huor": "2026-01-08T05"}, f"refused: conf: unknown key 'huor'; {KNOWN}", None),
    (
        {"hour": "2026-01-08T05", "to": 1, "again": 1},
        f"refused: conf: unknown keys 'again', 'to'; {KNOWN}",
        None,
    ),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[list[str | None]]:
    """What each of the cases comes to, and the hour that a message of it names."""
    work = tmp_path_factory.mktemp("refused")
    place = workplace(work, AIRFLOW_HOME=str(work / "airflow"))
    conf = json.dumps([conf for conf, _, _ in CASES])
    done = place.run("python", "-c", ASK, conf)
    assert "ANSWERS" in done.stdout, done.stdout
    printed: list[list[str | None]] = json.loads(done.stdout.partition("ANSWERS")[2])
    return printed


@pytest.mark.parametrize("number", range(len(CASES)), ids=[str(conf) for conf, _, _ in CASES])
def test_a_configuration_names_an_hour_or_is_refused_in_a_sentence(
    answers: list[list[str | None]], number: int
) -> None:
    _, outcome, hour = CASES[number]
    assert answers[number] == [outcome, hour]
