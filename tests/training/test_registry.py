from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judging import evidence, write_artefact
from mlflow.exceptions import MlflowException

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour
from training.card import CARD_NAME
from training.decision import latest_decision, read_record, write_decision
from training.evidence import Contestant
from training.gate import decide
from training.promotion import install_first, promote, rollback
from training.reader import sha256_of
from training.registry import (
    Registry,
    champion,
    log_evaluation,
    open_registry,
    previous,
    ui_command,
)
from training.run_log import Point, RunLog, TrainingRun, log_training
from training.soundness import Soundness

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One SQLite store for all tests, since making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'new' / 'mlflow.db'}"


@pytest.fixture
def registry(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Registry:
    """A registered model of its own for each test."""
    return open_registry(store, request.node.name, tmp_path / "models", tmp_path / "runs")


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return tmp_path / "decisions"


def training(model_id: str) -> TrainingRun:
    return TrainingRun(
        model_id=model_id,
        system="hrnn",
        parameters={"units": 8, "note": "x" * 7000},
        metrics={"loss": 1.5, "gap": float("nan")},
        dataset_id="base",
        as_of="2016-03-14T13",
        snapshots={"events": 42},
        config_digest="d" * 16,
        code_version="0.1.0",
        seed=7,
    )


def register(registry: Registry, *model_ids: str) -> None:
    for model_id in model_ids:
        write_artefact(registry.models, model_id)
        log_training(registry, training(model_id))


def decide_between(
    registry: Registry,
    records: Path,
    candidate: str,
    live: str | None,
    *,
    skills: tuple[float, float] = (0.6, 0.3),
    hour: str = "2016-03-14T13",
    sha256: str | None = None,
    made_at: str | None = None,
) -> Path:
    """A decision file on a candidate against what is live."""
    case = evidence(skills[0], skills[1] if live else None)

    def renamed(one: Contestant, model_id: str) -> Contestant:
        assert one.ranks is not None
        return replace(one, model_id=model_id, ranks=replace(one.ranks, model_id=model_id))

    sha256 = sha256 or sha256_of(registry.models / candidate / CARD_NAME)
    case = replace(
        case,
        start=Hour.parse(hour),
        candidate=renamed(case.candidate, candidate),
        champion=renamed(case.champion, live) if case.champion and live else None,
        soundness=Soundness(candidate, (), sha256, 64),
    )
    return write_decision(decide(case), records, made_at)


def live_ids(registry: Registry) -> tuple[str | None, str | None]:
    now, before = champion(registry), previous(registry)
    return now.model_id if now else None, before.model_id if before else None


# Runs and versions


def test_a_run_holds_what_is_needed_to_repeat_it(registry: Registry) -> None:
    register(registry, "hrnn-a")
    (version,) = registry.client.search_model_versions(f"name = '{registry.name}'")
    run = registry.client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"loss": 1.5}
    assert run.data.params["units"] == "8"
    assert run.data.params["seed"] == "7"
    wanted = {
        "model_id": "hrnn-a",
        "dataset_id": "base",
        "snapshots": '{"events": 42}',
        "config_digest": "d" * 16,
        "code_version": "0.1.0",
        "seed": "7",
        "as_of": "2016-03-14T13",
    }
    assert wanted.items() <= run.data.tags.items()
    assert version.source == (registry.models / "hrnn-a").as_uri()
    assert version.tags["model_id"] == "hrnn-a"


def test_training_the_same_model_again_adds_nothing(registry: Registry) -> None:
    write_artefact(registry.models, "hrnn-a")
    assert log_training(registry, training("hrnn-a")) == "1"
    assert log_training(registry, training("hrnn-a")) == "1"
    experiment = registry.client.get_experiment_by_name(registry.name)
    assert len(registry.client.search_runs([experiment.experiment_id])) == 1
    assert len(registry.client.search_model_versions(f"name = '{registry.name}'")) == 1


class Dying:
    """A client that dies at the n-th call of one method, before doing it."""

    def __init__(self, client: object, method: str, call: int) -> None:
        self._client, self._method, self._left = client, method, call

    def __getattr__(self, name: str) -> object:
        if name == self._method:
            self._left -= 1
            if not self._left:
                raise KeyboardInterrupt
        return getattr(self._client, name)


@pytest.mark.parametrize(
    "method", ["create_run", "log_batch", "set_terminated", "create_model_version"]
)
def test_a_recording_cut_short_is_completed_by_the_next(
    store: str, tmp_path: Path, method: str
) -> None:
    whole = open_registry(store, f"cut-{method}", tmp_path / "models", tmp_path / "runs")
    write_artefact(whole.models, "hrnn-a")
    with pytest.raises(KeyboardInterrupt):
        log_training(replace(whole, client=Dying(whole.client, method, 1)), training("hrnn-a"))
    log_training(whole, training("hrnn-a"))
    experiment = whole.client.get_experiment_by_name(whole.name)
    (run,) = whole.client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 1.5})
    (version,) = whole.client.search_model_versions(f"name = '{whole.name}'")
    assert version.run_id == run.info.run_id


def test_the_latest_evaluation_is_shown_not_the_best(registry: Registry) -> None:
    register(registry, "hrnn-a")
    first, second = Hour.parse("2016-03-14T13"), Hour.parse("2016-03-14T14")
    log_evaluation(registry, "hrnn-a", first, {"mrr_at_20": 0.25})
    for _ in range(2):  # again changes nothing
        log_evaluation(registry, "hrnn-a", second, {"mrr_at_20": 0.125, "recall_at_20": 0.5})
    (version,) = registry.client.search_model_versions(f"name = '{registry.name}'")
    metrics = registry.client.get_run(version.run_id).data.metrics
    assert metrics == {"loss": 1.5, "mrr_at_20": 0.125, "recall_at_20": 0.5}
    curve = registry.client.get_metric_history(version.run_id, "mrr_at_20")
    assert [(point.step, point.value) for point in curve] == [
        (first.index, 0.25),
        (second.index, 0.125),
    ]


def test_an_artefact_that_is_not_there_is_not_registered(registry: Registry) -> None:
    with pytest.raises(HourglassError, match="hrnn-a: the artefact is missing"):
        log_training(registry, training("hrnn-a"))


def test_names_that_mlflow_could_misread_are_refused(
    store: str, tmp_path: Path, registry: Registry
) -> None:
    with pytest.raises(UsageError, match="registered_model"):
        open_registry(store, "a' or '1", tmp_path, tmp_path)
    with pytest.raises(HourglassError, match="not a model id"):
        log_training(registry, training("../elsewhere"))


def test_a_store_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is not a database, it only has the name of one")
    with pytest.raises(HourglassError, match=r"MLflow could not open .*check mlflow_uri"):
        open_registry(f"sqlite:///{tmp_path / 'mlflow.db'}", "m", tmp_path, tmp_path)


def test_nothing_is_printed_even_when_the_tables_are_made(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from training.registry import *; "
        "assert 'mlflow' not in sys.modules; p = Path(sys.argv[1]); "
        "r = open_registry(f'sqlite:///{p}/m.db', 'm', p, p); assert champion(r) is None"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name for path in tmp_path.iterdir()} == {"m.db"}


def test_the_command_that_opens_the_page() -> None:
    assert ui_command("sqlite:////w/my work/mlflow.db", Path("/w/runs")) == (
        "mlflow ui --backend-store-uri 'sqlite:////w/my work/mlflow.db' "
        "--default-artifact-root file:///w/runs"
    )
    assert ui_command("http://mlflow:5000", Path("/w")).endswith("webbrowser http://mlflow:5000")


# Promotion


def test_at_first_nothing_is_live(registry: Registry) -> None:
    assert live_ids(registry) == (None, None)


def test_the_floor_goes_live_when_nothing_is_and_only_then(
    registry: Registry, records: Path
) -> None:
    register(registry, "recent_pop-a", "recent_pop-b")
    live = install_first(registry, "recent_pop-a", records, at="2016-03-14T13")
    assert live.folder == registry.models / "recent_pop-a"
    assert live == champion(registry)
    (record,) = records.iterdir()
    content = read_record(record).content
    assert (content["kind"], content["model_id"]) == ("bootstrap", "recent_pop-a")
    assert live.decision_sha256 == sha256_of(record)
    assert install_first(registry, "recent_pop-b", records).model_id == "recent_pop-a"
    assert len(list(records.iterdir())) == 1


def test_promotion_moves_both_aliases_and_records_the_decision(
    registry: Registry, records: Path
) -> None:
    register(registry, "recent_pop-a", "hrnn-b")
    install_first(registry, "recent_pop-a", records)
    decision = decide_between(registry, records, "hrnn-b", "recent_pop-a")
    done = promote(registry, decision)
    assert done.changed
    assert done.sentence.startswith("hrnn-b is live: ")
    assert live_ids(registry) == ("hrnn-b", "recent_pop-a")
    assert champion(registry) == done.champion
    assert done.champion.decision_sha256 == sha256_of(decision)


def test_promoting_twice_changes_nothing(registry: Registry, records: Path) -> None:
    register(registry, "recent_pop-a", "hrnn-b")
    install_first(registry, "recent_pop-a", records)
    decision = decide_between(registry, records, "hrnn-b", "recent_pop-a")
    promote(registry, decision)
    again = promote(registry, decision)
    assert not again.changed
    assert again.sentence == "hrnn-b is the champion already."
    assert live_ids(registry) == ("hrnn-b", "recent_pop-a")


def test_a_first_promotion_needs_no_champion(registry: Registry, records: Path) -> None:
    register(registry, "hrnn-a")
    assert promote(registry, decide_between(registry, records, "hrnn-a", None)).changed
    assert live_ids(registry) == ("hrnn-a", None)


def test_a_held_decision_says_so_and_changes_nothing(registry: Registry, records: Path) -> None:
    register(registry, "hrnn-a", "hrnn-b")
    install_first(registry, "hrnn-a", records)
    held = decide_between(registry, records, "hrnn-b", "hrnn-a", skills=(0.5, 0.5))
    done = promote(registry, held)
    assert not done.changed
    assert done.sentence.startswith("hrnn-b is held: hrnn-b against the champion hrnn-a")
    assert live_ids(registry) == ("hrnn-a", None)


def test_a_blocked_decision_is_refused(registry: Registry, records: Path) -> None:
    register(registry, "hrnn-a", "hrnn-b")
    install_first(registry, "hrnn-a", records)
    decision = decide_between(registry, records, "hrnn-b", "hrnn-a", skills=(0.2, 0.6))
    with pytest.raises(HourglassError, match="hrnn-b is blocked"):
        promote(registry, decision)
    assert live_ids(registry) == ("hrnn-a", None)


def test_a_tampered_decision_is_refused(registry: Registry, records: Path) -> None:
    register(registry, "hrnn-a", "hrnn-b")
    install_first(registry, "hrnn-a", records)
    held = decide_between(registry, records, "hrnn-b", "hrnn-a", skills=(0.5, 0.5))
    held.chmod(0o644)
    held.write_text(held.read_text().replace('"outcome": "hold"', '"outcome": "promote"'))
    with pytest.raises(HourglassError, match="changed after it was written"):
        promote(registry, held)
    assert live_ids(registry) == ("hrnn-a", None)


def test_a_decision_against_another_champion_is_stale(registry: Registry, records: Path) -> None:
    register(registry, "hrnn-a", "hrnn-b", "hrnn-c")
    install_first(registry, "hrnn-a", records)
    stale = decide_between(registry, records, "hrnn-c", "hrnn-a")
    promote(registry, decide_between(registry, records, "hrnn-b", "hrnn-a"))
    with pytest.raises(HourglassError, match="compared hrnn-c with hrnn-a, but hrnn-b is live"):
        promote(registry, stale)
    without = decide_between(registry, records, "hrnn-c", None)
    with pytest.raises(HourglassError, match="with no champion, but hrnn-b is live"):
        promote(registry, without)
    assert live_ids(registry) == ("hrnn-b", "hrnn-a")


def test_a_candidate_that_changed_vanished_or_was_never_registered_is_refused(
    registry: Registry, records: Path
) -> None:
    register(registry, "hrnn-a", "hrnn-b")
    install_first(registry, "hrnn-a", records)
    decision = decide_between(registry, records, "hrnn-b", "hrnn-a")
    card = registry.models / "hrnn-b" / CARD_NAME
    card.write_text("{}")
    with pytest.raises(HourglassError, match="not the artefact that"):
        promote(registry, decision)
    card.unlink()
    with pytest.raises(HourglassError, match="not the artefact that"):
        promote(registry, decision)
    card.parent.rmdir()
    with pytest.raises(HourglassError, match="hrnn-b: the artefact is missing"):
        promote(registry, decision)
    other = decide_between(registry, records, "hrnn-z", "hrnn-a", sha256="e" * 64)
    with pytest.raises(HourglassError, match="hrnn-z is not registered: run hourglass train"):
        promote(registry, other)
    assert live_ids(registry) == ("hrnn-a", None)


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("set_model_version_tag", 1),
        ("set_model_version_tag", 3),
        ("set_registered_model_alias", 1),
        ("set_registered_model_alias", 2),
    ],
)
def test_a_promotion_cut_short_leaves_a_champion_and_is_completed(
    store: str, tmp_path: Path, records: Path, method: str, call: int
) -> None:
    whole = open_registry(store, f"kill-{method}-{call}", tmp_path / "models", tmp_path / "runs")
    register(whole, "hrnn-a", "hrnn-b")
    install_first(whole, "hrnn-a", records)
    decision = decide_between(whole, records, "hrnn-b", "hrnn-a")
    with pytest.raises(KeyboardInterrupt):
        promote(replace(whole, client=Dying(whole.client, method, call)), decision)
    assert live_ids(whole) == ("hrnn-a", None)
    assert promote(whole, decision).changed
    assert live_ids(whole) == ("hrnn-b", "hrnn-a")


# Going back


@pytest.fixture
def promoted(registry: Registry, records: Path) -> Iterator[Registry]:
    """hrnn-a was live, hrnn-b is."""
    register(registry, "hrnn-a", "hrnn-b")
    install_first(registry, "hrnn-a", records)
    promote(registry, decide_between(registry, records, "hrnn-b", "hrnn-a"))
    yield registry


def test_rollback_returns_to_the_previous_model_and_records_it(
    promoted: Registry, records: Path
) -> None:
    done = rollback(promoted, records, "below its floor", at="2016-03-14T15")
    assert (done.left.model_id, done.champion.model_id) == ("hrnn-b", "hrnn-a")
    assert live_ids(promoted) == ("hrnn-a", None)
    content = read_record(done.record).content
    assert content["kind"] == "rollback"
    assert content["from"]["model_id"] == "hrnn-b"
    assert content["to"]["model_id"] == "hrnn-a"
    assert content["reason"] == "below its floor"
    assert content["undone_decision_sha256"] == done.left.decision_sha256


def test_a_second_rollback_has_nowhere_to_go(promoted: Registry, records: Path) -> None:
    rollback(promoted, records, "bad")
    with pytest.raises(HourglassError, match=r"hrnn-a \(version 1\) has no previous model"):
        rollback(promoted, records, "bad")


def test_without_a_champion_there_is_nothing_to_roll_back(
    registry: Registry, records: Path
) -> None:
    with pytest.raises(HourglassError, match="nothing is live"):
        rollback(registry, records, "bad")


def test_an_undone_decision_promotes_no_more_but_a_later_one_does(
    promoted: Registry, records: Path
) -> None:
    undone = latest_decision(records)
    rollback(promoted, records, "bad")
    with pytest.raises(HourglassError, match="and rolled back: gate it on a later hour"):
        promote(promoted, undone)
    later = decide_between(promoted, records, "hrnn-b", "hrnn-a", hour="2016-03-14T15")
    assert promote(promoted, later).changed
    assert live_ids(promoted) == ("hrnn-b", "hrnn-a")


def test_the_same_evidence_decided_again_stays_undone(promoted: Registry, records: Path) -> None:
    rollback(promoted, records, "bad")
    again = decide_between(promoted, records, "hrnn-b", "hrnn-a", made_at="2016-03-14T13:40:00")
    with pytest.raises(HourglassError, match="and rolled back"):
        promote(promoted, again)
    # A second promotion and rollback, of a later hour, does not bring the first back.
    later = decide_between(promoted, records, "hrnn-b", "hrnn-a", hour="2016-03-14T15")
    promote(promoted, later)
    rollback(promoted, records, "bad again")
    with pytest.raises(HourglassError, match="and rolled back"):
        promote(promoted, again)
    assert live_ids(promoted) == ("hrnn-a", None)


def test_a_rollback_cut_short_leaves_a_champion_and_is_completed(
    promoted: Registry, records: Path
) -> None:
    dying = replace(promoted, client=Dying(promoted.client, "set_registered_model_alias", 1))
    with pytest.raises(KeyboardInterrupt):
        rollback(dying, records, "bad")
    assert live_ids(promoted) == ("hrnn-b", "hrnn-a")
    rollback(promoted, records, "bad")
    assert live_ids(promoted) == ("hrnn-a", None)


def test_there_is_no_going_back_to_an_artefact_that_is_gone(
    promoted: Registry, records: Path
) -> None:
    (promoted.models / "hrnn-a" / CARD_NAME).unlink()
    (promoted.models / "hrnn-a").rmdir()
    with pytest.raises(HourglassError, match="hrnn-a: the artefact is missing"):
        rollback(promoted, records, "bad")
    assert live_ids(promoted) == ("hrnn-b", "hrnn-a")


# Runs of fits that are still going on


class Troubled:
    """A client whose ``log_batch`` fails from its n-th call on, so many times."""

    def __init__(self, client: Any, first: int, times: int) -> None:
        self._client, self._first, self._times, self.calls = client, first, times, 0

    def log_batch(self, *arguments: Any, **named: Any) -> None:
        self.calls += 1
        if self._first <= self.calls < self._first + self._times:
            raise MlflowException("the server does not answer")
        self._client.log_batch(*arguments, **named)

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)


def points(registry: Registry, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(at.step, at.value) for at in registry.client.get_metric_history(run_id, name)]


def only_run(registry: Registry) -> Any:
    experiment = registry.client.get_experiment_by_name(registry.name)
    (found,) = registry.client.search_runs([experiment.experiment_id])
    return found


def test_a_run_is_written_while_its_fit_goes_on(registry: Registry) -> None:
    log = RunLog(registry, replace(training("hrnn-a"), name="mine", metrics={}), pytest.fail)
    log.epoch(Point(1, {"epoch_loss": 3.0, "epoch_validation_loss": float("nan")}))
    found = only_run(registry)
    assert (found.info.status, found.data.params["units"]) == ("RUNNING", "8")
    assert found.data.tags["model"] == "mine"
    assert points(registry, found.info.run_id, "epoch_loss") == [(1, 3.0)]
    log.epoch(Point(2, {"epoch_loss": 2.0}))
    write_artefact(registry.models, "hrnn-a")
    assert log.finish({"loss": 2.0}) == "1"
    found = only_run(registry)
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"epoch_loss": 2.0, "loss": 2.0}


def test_trouble_with_mlflow_costs_no_fit(registry: Registry) -> None:
    client = Troubled(registry.client, first=2, times=1)
    said: list[str] = []
    log = RunLog(replace(registry, client=client), training("hrnn-a"), said.append)  # type: ignore[arg-type]
    for epoch in (1, 2, 3):
        log.epoch(Point(epoch, {"epoch_loss": 1.0 / epoch}))
    assert client.calls == 2  # it is not asked again and again
    (sentence,) = said
    assert "the server does not answer" in sentence
    write_artefact(registry.models, "hrnn-a")
    log.finish({"loss": 1.5})
    curve = points(registry, only_run(registry).info.run_id, "epoch_loss")
    assert curve == [(1, 1.0), (2, 0.5), (3, 1.0 / 3)]


def test_a_fit_that_cannot_be_recorded_at_its_end_fails(registry: Registry) -> None:
    client = Troubled(registry.client, first=2, times=100)
    log = RunLog(replace(registry, client=client), training("hrnn-a"), lambda _: None)  # type: ignore[arg-type]
    log.epoch(Point(1, {"epoch_loss": 1.0}))
    write_artefact(registry.models, "hrnn-a")
    with pytest.raises(HourglassError, match="MLflow could not record the curves of hrnn-a"):
        log.finish({"loss": 1.5})


def test_a_failure_is_recorded_and_the_next_try_is_another_run(registry: Registry) -> None:
    RunLog(registry, training("hrnn-a"), pytest.fail).fail("hrnn: the loss became nan")
    found = only_run(registry)
    assert (found.info.status, found.data.tags["failure"]) == (
        "FAILED",
        "hrnn: the loss became nan",
    )
    write_artefact(registry.models, "hrnn-a")
    RunLog(registry, training("hrnn-a"), pytest.fail).finish({"loss": 1.5})
    assert registry.client.get_run(found.info.run_id).info.status == "FAILED"
    experiment = registry.client.get_experiment_by_name(registry.name)
    runs = registry.client.search_runs([experiment.experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED"]


@pytest.mark.parametrize("stopped", [True, False])
def test_a_fit_that_was_stopped_goes_on_in_its_run(
    store: str, tmp_path: Path, stopped: bool
) -> None:
    registry = open_registry(store, f"stopped-{stopped}", tmp_path / "models", tmp_path / "runs")
    first = RunLog(registry, training("hrnn-a"), pytest.fail)
    first.epoch(Point(1, {"epoch_loss": 3.0}))
    if stopped:  # else it was killed, and could say nothing
        first.fail("interrupted", "KILLED")
    second = RunLog(registry, training("hrnn-a"), pytest.fail)
    second.epoch(Point(2, {"epoch_loss": 2.0}))
    write_artefact(registry.models, "hrnn-a")
    second.finish({"loss": 2.0})
    found = only_run(registry)
    assert found.info.status == "FINISHED"
    assert "failure" not in found.data.tags
    assert points(registry, found.info.run_id, "epoch_loss") == [(1, 3.0), (2, 2.0)]


def test_what_a_model_was_continued_from_is_recorded(registry: Registry) -> None:
    write_artefact(registry.models, "hrnn-b")
    log_training(registry, replace(training("hrnn-b"), continued_from="hrnn-a"))
    (version,) = registry.client.search_model_versions(f"name = '{registry.name}'")
    assert version.tags["continued_from"] == "hrnn-a"
    assert only_run(registry).data.tags["continued_from"] == "hrnn-a"
