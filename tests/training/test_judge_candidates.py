"""From frozen data to a live model with real artefacts, sound and poisoned."""

from __future__ import annotations

from pathlib import Path

import pytest
from judging import GATE
from small_models import WITHOUT_NETWORK
from synthetic import AS_OF, AS_OF_S, ring_walks, write_dataset

from pipeline.settings.learning import EvaluationSettings
from training.data.reader import DataSet, read_dataset
from training.gate.artefact_checks import check_artefact
from training.gate.decision_file import contestant, write_decision
from training.gate.evidence import Evidence
from training.gate.gate import Decision, decide
from training.metrics.ranking import rank_targets
from training.metrics.ranks import write_ranks
from training.models import build
from training.registry.artefact import WEIGHTS_NAME, load_model, save_model

SAME_FOR_ALL = ("pop", "recent_pop")
RULE = EvaluationSettings(bootstrap_samples=200, k=5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training part, the hour after it, and one model of every cheap system."""
    root = tmp_path_factory.mktemp("judgement")
    base = write_dataset(root / "base", ring_walks(200, AS_OF_S - 7200, seed=0))
    write_dataset(
        root / "frozen",
        ring_walks(60, AS_OF_S, seed=1),
        as_of="2016-03-14T14",
        window_start=AS_OF,
        base=base,
    )
    data = read_dataset(base)
    for name in WITHOUT_NETWORK:
        system = build(name, {})
        metrics = system.fit(data, 0, lambda _: None)
        save_model(root / "models", system, {}, data, 0, metrics, "test")
    return root


@pytest.fixture
def frozen(folders: Path) -> DataSet:
    return read_dataset(folders / "frozen")


def model_folder(folders: Path, system: str) -> Path:
    (folder,) = (folders / "models").glob(f"{system}-*")
    return folder


def judge(frozen: DataSet, work: Path, folders: dict[str, Path | None], examined: Path) -> Decision:
    """What the commands evaluate and gate do, one after the other."""
    people = {}
    for role, folder in folders.items():
        people[role] = None
        if folder is not None:
            model = load_model(folder)
            ranks = rank_targets(
                model.model, frozen, RULE, model_id=folder.name, item_ids=model.item_ids
            )
            write_ranks(ranks, work / "evaluations")
            people[role] = contestant(model.card, work / "evaluations", ranks.frozen_id)
    candidate, floor = people["candidate"], people["floor"]
    assert candidate is not None
    assert floor is not None
    return decide(
        Evidence(
            frozen_id=frozen.manifest.dataset_id,
            start=frozen.manifest.window_start,
            candidate=candidate,
            champion=people["champion"],
            baselines={"recent_pop": floor},
            artefact_report=check_artefact(examined, frozen, RULE, load_model, seed=0),
            quality_passed=True,
            rule=RULE,
            gate=GATE,
            seed=0,
        )
    )


@pytest.mark.parametrize("name", WITHOUT_NETWORK)
def test_every_system_is_sound_and_sees_no_future(
    folders: Path, frozen: DataSet, name: str
) -> None:
    found = check_artefact(model_folder(folders, name), frozen, RULE, load_model, seed=0)
    codes = ["not_personal"] if name in SAME_FOR_ALL else []
    assert [defect.code for defect in found.defects] == codes
    assert found.card_sha256 is not None


def contest(folders: Path, candidate: str, champion: str | None) -> dict[str, Path | None]:
    return {
        "candidate": model_folder(folders, candidate),
        "champion": model_folder(folders, champion) if champion else None,
        "floor": model_folder(folders, "recent_pop"),
    }


def test_a_model_that_knows_the_ring_replaces_popularity(
    folders: Path, frozen: DataSet, tmp_path: Path
) -> None:
    candidate = model_folder(folders, "item_knn")
    decision = judge(frozen, tmp_path, contest(folders, "item_knn", "pop"), candidate)
    assert decision.outcome.value == "promote"
    path = write_decision(decision, tmp_path / "decisions")
    assert path.name.startswith(f"2016-03-14T13-{candidate.name}-")


def test_popularity_does_not_replace_the_model_that_knows_the_ring(
    folders: Path, frozen: DataSet, tmp_path: Path
) -> None:
    decision = judge(
        frozen, tmp_path, contest(folders, "pop", "item_knn"), model_folder(folders, "pop")
    )
    assert (decision.outcome.value, decision.reasons) == ("block", ("not_personal",))


def test_truncated_weights_are_blocked(folders: Path, frozen: DataSet, tmp_path: Path) -> None:
    sound = model_folder(folders, "item_knn")
    poisoned = tmp_path / sound.name
    poisoned.mkdir()
    for file in sound.iterdir():
        data = file.read_bytes()
        (poisoned / file.name).write_bytes(data[:-9] if file.name == WEIGHTS_NAME else data)
    decision = judge(frozen, tmp_path, contest(folders, "item_knn", "pop"), poisoned)
    assert (decision.outcome.value, decision.reasons) == ("block", ("not_loadable",))
    assert WEIGHTS_NAME in decision.sentence


def test_a_model_that_learned_the_test_hour_is_blocked_however_splendid(
    folders: Path, frozen: DataSet, tmp_path: Path
) -> None:
    later = read_dataset(
        write_dataset(tmp_path / "later", ring_walks(60, AS_OF_S, seed=1), as_of="2016-03-14T14")
    )
    system = build("item_knn", {})
    system.fit(later, 0, lambda _: None)
    candidate = tmp_path / save_model(tmp_path, system, {}, later, 0, {}, "test")
    models = contest(folders, "item_knn", "pop") | {"candidate": candidate}
    decision = judge(frozen, tmp_path, models, candidate)
    assert (decision.outcome.value, decision.reasons) == ("block", ("trained_on_the_future",))
