"""Runs whose tasks fail, and an hour that a person names: what people and commands are told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow_process import Airflow, refuse_unknown_words
from webhook import Webhook, webhook

pytestmark = pytest.mark.slow

END = "2026-01-05T05:00:00+00:00"


@pytest.fixture
def hook(airflow: Airflow) -> Iterator[Webhook]:
    """A webhook that the settings of the tasks' commands name."""
    config = airflow.folder / "hourglass.yaml"
    before = config.read_text() if config.exists() else None
    asked = airflow.folder / "commands.notify"
    with webhook() as listening:
        work = airflow.folder / "told" / listening.address.rpartition(":")[2].partition("/")[0]
        config.write_text(f"work: '{work}'\nsite: shop\nnotify: {{to: ['{listening.address}']}}\n")
        yield listening
    asked.unlink(missing_ok=True)
    config.unlink()
    if before is not None:
        config.write_text(before)


def notified(folder: Path) -> list[str]:
    """What the tasks asked `hourglass notify` for, which the command line must know."""
    file = folder / "commands.notify"
    lines = file.read_text().splitlines() if file.exists() else []
    for line in lines:
        refuse_unknown_words(line[1:-1].split("]["))
    return lines


def test_a_failed_task_is_told_once_however_often_the_hour_is_run(
    airflow: Airflow, hook: Webhook
) -> None:
    before = len(notified(airflow.folder))
    for _ in range(2):
        tasks, _commands = airflow.run(f"nobody sessions_hourly {END}", failing="validate")
        assert tasks["validate"] == "failed"
    assert hook.titles == ["Hourglass shop: validate failed, hour 2026-01-05T05"]
    message = hook.messages[0]["message"]
    assert "See: http://localhost:8080/dags/sessions_hourly/runs/" in message
    assert "/tasks/validate" in message
    assert str(airflow.folder) not in message
    assert len(notified(airflow.folder)) == before + 2


def test_a_task_of_retrain_names_its_data_set(airflow: Airflow, hook: Webhook) -> None:
    """There is no such data set, so the hour is the one before now; `judge` fails beside it."""
    airflow.run("nobody", failing="judge", needs_approval=False)
    line = notified(airflow.folder)[-1]
    assert line.endswith("[--dataset][d1]")
    assert len(hook.messages) == 1


def test_a_webhook_that_fails_changes_nothing(airflow: Airflow) -> None:
    config = airflow.folder / "hourglass.yaml"
    before = config.read_text() if config.exists() else None
    with webhook(status=500) as ill:
        config.write_text(f"work: '{airflow.folder / 'ill'}'\nnotify: {{to: ['{ill.address}']}}\n")
        tasks, _ = airflow.run(f"nobody sessions_hourly {END}", failing="ingest")
    config.unlink()
    if before is not None:
        config.write_text(before)
    assert tasks["ingest"] == "failed"
    assert tasks["validate"] == "upstream_failed"
    assert len(ill.messages) == 1


def test_an_hour_that_a_person_names_is_computed_whatever_the_interval(
    airflow: Airflow, hook: Webhook
) -> None:
    named = '{"hour":"2026-01-04T23"}'
    _, commands = airflow.run(f"nobody sessions_hourly {END} {named}")
    ends = "[--from][2026-01-04T23][--to][2026-01-05T00]"
    # The report is written beside the others.
    assert [line for line in commands if line != "[report]"] == [
        "[ingest][--to][2026-01-05T00]",
        f"[validate]{ends}[--only][events]",
        f"[sessionize]{ends}",
        f"[validate]{ends}[--only][sessions]",
    ]
    assert hook.messages == []
    airflow.run(f"nobody sessions_hourly {END} {named}", failing="sessionize")
    assert hook.titles == ["Hourglass shop: sessionize failed, hour 2026-01-04T23"]


@pytest.mark.parametrize(
    ("conf", "hour"),
    [
        ('{"hour":"2999-01-08T05"}', "hour 2999-01-08T05"),
        ('{"hour":"2026-02-30T04"}', "no hour"),
        ('{"huor":"2026-01-04T23"}', "no hour"),
        ('{"hour":"2026-01-04T23","again":true}', "no hour"),
    ],
    ids=["to-come", "no-day", "misspelt", "one-key-more"],
)
def test_of_a_run_that_is_refused_the_notice_names_its_hour_or_none(
    airflow: Airflow, hook: Webhook, conf: str, hour: str
) -> None:
    """Not the hour that the lake has filled last; and no command works on any."""
    tasks, commands = airflow.run(f"nobody sessions_hourly {END} {conf}", failing="none")
    assert tasks["ingest"] == "failed"
    assert commands == ["[report]"]
    assert hook.titles == [f"Hourglass shop: ingest failed, {hour}"]
