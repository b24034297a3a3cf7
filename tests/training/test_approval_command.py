"""`hourglass approve` as people and Airflow call it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from lives import decided, register, registry
from typer.testing import CliRunner

from pipeline.errors import HourglassError, UsageError
from pipeline.sealed_json import read_record
from pipeline.settings.settings import Settings
from pipeline.workspace import CommandContext
from training.cli.gate import approve
from training.deployment.answer_proof import proof_of
from training.deployment.approval import approval_facts
from training.registry.mlflow_registry import Registry
from training.registry.record_chain import KEY_VARIABLE, anchor

__all__ = ["registry"]
KEY = "0123456789abcdef0123456789abcdef"
NOW = datetime(2016, 3, 14, 14, 30, tzinfo=UTC)


@pytest.fixture
def decision(registry: Registry) -> Path:
    register(registry, "hrnn-b")
    gate = {"approval": True, "approval_timeout": "1h"}
    return decided(registry, "hrnn-b", gate_settings=gate, made_at="2016-03-14T14:02:00")


def asked(registry: Registry, store: str, *words: str) -> dict[str, str]:
    """The command's answer for machines."""
    settings = Settings(
        work=registry.models.parent, mlflow_uri=store, registered_model=registry.name
    )
    app = typer.Typer()

    @app.callback()
    def opened(context: typer.Context) -> None:
        context.obj = CommandContext(settings, NOW, as_json=True)

    app.command("approve")(approve)
    done = CliRunner().invoke(app, ["approve", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    facts: dict[str, str] = json.loads(done.output)
    return facts


def test_the_latest_decision_is_approved_now(
    registry: Registry, store: str, decision: Path
) -> None:
    facts = asked(registry, store, "--by", "ann", "--why", "looks good")
    assert (facts["approved"], facts["decision"]) == (True, str(decision))
    content = read_record(Path(facts["record"])).content
    assert (content["by"], content["why"]) == ("ann", "looks good")
    assert content["at"] == NOW.isoformat()


def test_what_waits_is_answered_though_a_later_hour_was_held(
    registry: Registry, store: str, decision: Path
) -> None:
    decided(registry, "hrnn-b", hour="2016-03-14T14", outcome="hold")
    assert asked(registry, store, "--by", "ann")["decision"] == str(decision)
    # Now nothing waits any more, and the latest decision is none to approve.
    with pytest.raises(HourglassError, match="says hold: there is nothing to approve"):
        asked(registry, store, "--by", "ann")


def test_a_decision_may_be_named_without_its_folder(
    registry: Registry, store: str, decision: Path
) -> None:
    facts = asked(registry, store, "--decision", decision.name, "--by", "ann", "--reject")
    assert facts["approved"] is False
    assert read_record(Path(facts["record"])).content["at"] == NOW.isoformat()


@pytest.mark.parametrize(
    "proof", ["none", "no key", "another name", "another time", "another answer", "another key"]
)
def test_the_time_of_an_answer_needs_airflows_proof(
    registry: Registry, store: str, decision: Path, monkeypatch: pytest.MonkeyPatch, proof: str
) -> None:
    if proof != "no key":
        monkeypatch.setenv(KEY_VARIABLE, KEY)
    at = "2016-03-14T14:10:00+00:00"
    made = proof_of(
        (KEY if proof != "another key" else KEY[::-1]).encode(),
        decision.name,
        approved=proof != "another answer",
        by="bob" if proof == "another name" else "ann",
        at="2016-03-14T14:11:00+00:00" if proof == "another time" else at,
    )
    words = ["--by", "ann", "--decision", decision.name, "--at", at]
    with pytest.raises(UsageError, match="nothing proves that ann answered"):
        asked(registry, store, *words, *(() if proof == "none" else ("--proof", made)))
    assert not list(decision.parent.glob("approval-*"))


def test_the_time_of_an_answer_that_airflow_proves_counts(
    registry: Registry, store: str, decision: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    anchor(registry, "ann", "a key", NOW.isoformat())
    at = "2016-03-14T14:10:00.123456+00:00"
    made = proof_of(KEY.encode(), decision.name, True, "ann", at)
    facts = asked(registry, store, "--by", "ann", "--at", at, "--proof", made)
    content = read_record(Path(facts["record"])).content
    assert (content["at"], content["at_proven"]) == ("2016-03-14T14:10:00+00:00", True)


def test_machines_are_told_whom_to_ask_until_when(registry: Registry, decision: Path) -> None:
    assert approval_facts(decision) == {
        "needs_approval": True,
        "approval_until": "2016-03-14T15:02:00+00:00",
    }
    free = decided(registry, "hrnn-b", hour="2016-03-14T15")
    assert approval_facts(free) == {"needs_approval": False}
