"""A live model whose files are not those that the registry recorded is used by nobody."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lives import Prepared, decided, live_ids, register, registry, training
from synthetic import AS_OF_S, write_dataset

from benchmarks.gate_poison import rewrite_card
from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.settings.settings import load_settings
from training.data.reader import read_dataset
from training.deployment.promote import install_first, promote, roll_back_by_hand
from training.fit.model_configs import ModelConfig
from training.fit.parent_model import find_own_parents, find_parent
from training.fit.retrain_policy import RetrainSignals
from training.fit.retrain_signals import signals_at
from training.registry.artefact import VOCABULARY_NAME, WEIGHTS_NAME
from training.registry.champion_card import trusted, verify_card
from training.registry.mlflow_registry import (
    CARD_SHA256,
    CHAMPION_RECORD,
    Registry,
    champion,
    recorded_card,
)
from training.registry.mlflow_run import log_training
from training.registry.model_card import CARD_NAME
from training.report.gather import model_health
from training.steps.recommend import champion_at
from training.trainer.distributed import ProcessGroup

__all__ = ["registry"]
LATER = Hour.parse("2016-03-14T20")


def with_promotion(registry: Registry) -> None:
    """recent-a was live, hrnn-b is, hrnn-c is registered."""
    register(registry, "recent-a", "hrnn-b", "hrnn-c")
    install_first(registry, "recent-a", registry.records)
    promote(registry, decided(registry, "hrnn-b"))


@pytest.fixture(scope="module")
def prepared_promoted(mlflow_tables: None, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(tmp_path_factory.mktemp("promoted"), with_promotion)


@pytest.fixture
def promoted(prepared_promoted: Prepared, tmp_path: Path) -> Registry:
    """A registry `with_promotion`."""
    return prepared_promoted.at(tmp_path)


def forge(registry: Registry, model_id: str) -> Path:
    """A card that agrees with its files, and loads, but is not the recorded one."""
    rewrite_card(registry.models / model_id, metrics={"loss": 0.0})
    return registry.models / model_id / CARD_NAME


def test_a_registered_model_has_its_card_recorded(promoted: Registry) -> None:
    live = champion(promoted)
    assert live is not None
    assert live.card_sha256 is not None
    assert recorded_card(promoted, live.version) == live.card_sha256
    assert trusted(promoted, live) == live
    assert champion_at(promoted, LATER).card_sha256 == live.card_sha256


def test_a_forged_card_stops_every_use(promoted: Registry) -> None:
    live = champion(promoted)
    assert live is not None
    card = forge(promoted, "hrnn-b")
    uses: tuple[Callable[[], Any], ...] = (
        lambda: champion_at(promoted, LATER),
        lambda: verify_card(live),
        lambda: trusted(promoted, live),
    )
    for use in uses:
        with pytest.raises(HourglassError, match="not the card that MLflow recorded") as refusal:
            use()
        assert str(card) in str(refusal.value)
    card.unlink()
    with pytest.raises(HourglassError, match=r"the card of hrnn-b .* is missing"):
        champion_at(promoted, LATER)


def test_nobody_learns_from_a_forged_champion_nor_judges_by_it(promoted: Registry) -> None:
    card = forge(promoted, "hrnn-b")
    settings = load_settings(None, {"work": str(promoted.models.parent)})
    shards = settings.path("shards") / "base"
    data = read_dataset(write_dataset(shards, {"ann": [("a", AS_OF_S - 60)]}))
    with pytest.raises(HourglassError, match="--init-from champion: ") as refusal:
        find_parent(settings, promoted, "champion", data, [], ProcessGroup())
    assert f"{card}: not the card that MLflow recorded" in str(refusal.value)
    model = ModelConfig("hrnn", "hrnn", {}, init_from="champion")
    told: list[str] = []
    assert not find_own_parents(settings, promoted, data, [model], ProcessGroup(), told.append)
    assert f"{card}: not the card" in told[0]
    # Of a live model that cannot be trusted nothing is told, which speaks for a new one.
    assert signals_at(settings, Lake("", Path()), promoted, LATER) == RetrainSignals(
        None, None, None, None
    )


def test_nobody_goes_back_to_a_forged_model(promoted: Registry) -> None:
    card = forge(promoted, "recent-a")
    with pytest.raises(HourglassError, match="not the card that MLflow recorded") as refusal:
        roll_back_by_hand(promoted, promoted.records, "bad")
    assert str(card) in str(refusal.value)
    assert live_ids(promoted) == ("hrnn-b", "recent-a")


def test_training_a_model_again_does_not_record_the_forged_card_of_a_live_one(
    promoted: Registry,
) -> None:
    forge(promoted, "hrnn-b")
    log_training(promoted, training("hrnn-b"))
    with pytest.raises(HourglassError, match="not the card that MLflow recorded"):
        champion_at(promoted, LATER)
    # Of one that was never live, the new artefact is the one to be judged.
    forge(promoted, "hrnn-c")
    log_training(promoted, training("hrnn-c"))
    assert promote(promoted, decided(promoted, "hrnn-c", hour="2016-03-14T14")).changed


def test_a_card_from_before_cards_were_recorded_is_noted_once(
    promoted: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    live = champion(promoted)
    assert live is not None
    promoted.client.delete_model_version_tag(promoted.name, live.version, CARD_SHA256)
    assert champion_at(promoted, LATER).card_sha256 == live.card_sha256
    assert "registered before cards were recorded" in capsys.readouterr().err
    assert recorded_card(promoted, live.version) == live.card_sha256
    champion_at(promoted, LATER)
    assert capsys.readouterr().err == ""
    forge(promoted, "hrnn-b")
    with pytest.raises(HourglassError, match="not the card that MLflow recorded"):
        champion_at(promoted, LATER)


def test_what_goes_live_has_its_card_recorded(registry: Registry) -> None:
    register(registry, "hrnn-b")
    registry.client.delete_model_version_tag(registry.name, "1", CARD_SHA256)
    promote(registry, decided(registry, "hrnn-b"))
    tags = registry.client.get_model_version(registry.name, "1").tags
    assert len(tags[CARD_SHA256]) == 64
    assert tags[CHAMPION_RECORD].startswith("promotion-")


@pytest.mark.parametrize("name", [CARD_NAME, WEIGHTS_NAME, VOCABULARY_NAME])
def test_the_report_names_the_file(promoted: Registry, name: str) -> None:
    settings = load_settings(None, {"work": str(promoted.models.parent)})
    hours = HourRange(Hour.parse("2016-03-14T10"), Hour.parse("2016-03-14T16"))
    at = datetime(2016, 3, 14, 16, tzinfo=UTC)

    def damaged() -> list[str]:
        page = settings.path("reports") / "index.html"
        return list(model_health(settings, promoted, hours, at, page)[0].damaged)

    assert damaged() == []
    path = promoted.models / "hrnn-b" / name
    path.write_bytes(path.read_bytes() + b"\n")
    (sentence,) = damaged()
    assert sentence.startswith(f"models/hrnn-b/{name}: ")
