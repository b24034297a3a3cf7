"""`hourglass approve` as people and Airflow call it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from lives import decided, register, registry, store
from typer.testing import CliRunner

from pipeline.errors import HourglassError
from pipeline.settings import Settings
from pipeline.workspace import Workspace
from training.approval import approval_facts
from training.approval_command import approve
from training.record import read_record
from training.registry import Registry

__all__ = ["registry", "store"]
NOW = datetime(2016, 3, 14, 14, 30, tzinfo=UTC)


@pytest.fixture
def decision(registry: Registry) -> Path:
    register(registry, "hrnn-b")
    gate = {"approval": True, "approval_timeout": "1h"}
    return decided(registry, "hrnn-b", gate_settings=gate, made_at="2016-03-14T14:02:00")


def asked(registry: Registry, *words: str) -> dict[str, str]:
    """The command's answer for machines."""
    app = typer.Typer()

    @app.callback()
    def opened(context: typer.Context) -> None:
        context.obj = Workspace(Settings(work=registry.models.parent), NOW, as_json=True)

    app.command("approve")(approve)
    done = CliRunner().invoke(app, ["approve", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    facts: dict[str, str] = json.loads(done.output)
    return facts


def test_the_latest_decision_is_approved_now(registry: Registry, decision: Path) -> None:
    facts = asked(registry, "--by", "ann", "--why", "looks good")
    assert (facts["approved"], facts["decision"]) == (True, str(decision))
    content = read_record(Path(facts["record"])).content
    assert (content["by"], content["why"]) == ("ann", "looks good")
    assert content["at"] == NOW.isoformat()


def test_what_waits_is_answered_though_a_later_hour_was_held(
    registry: Registry, decision: Path
) -> None:
    decided(registry, "hrnn-b", hour="2016-03-14T14", outcome="hold")
    assert asked(registry, "--by", "ann")["decision"] == str(decision)
    # Now nothing waits any more, and the latest decision is none to approve.
    with pytest.raises(HourglassError, match="says hold: there is nothing to approve"):
        asked(registry, "--by", "ann")


def test_a_decision_may_be_named_without_its_folder(registry: Registry, decision: Path) -> None:
    said = ("--by", "ann", "--reject", "--at", "2016-03-14T14:10:00")
    facts = asked(registry, "--decision", decision.name, *said)
    assert facts["approved"] is False
    content = read_record(Path(facts["record"])).content
    assert content["at"] == "2016-03-14T14:10:00+00:00"


def test_machines_are_told_whom_to_ask_until_when(registry: Registry, decision: Path) -> None:
    assert approval_facts(decision) == {
        "needs_approval": True,
        "approval_until": "2016-03-14T15:02:00+00:00",
    }
    free = decided(registry, "hrnn-b", hour="2016-03-14T15")
    assert approval_facts(free) == {"needs_approval": False}
