"""What speaks for a new model, as it is gathered from registry, cards and evaluations."""

from __future__ import annotations

from pathlib import Path

import pytest
from lives import register, registry

from pipeline.hours import Hour
from pipeline.lake.lake import Lake
from pipeline.settings.settings import Settings, load_settings
from training.deployment.promote import install_first
from training.fit.retrain_signals import signals_at
from training.registry.mlflow_registry import Registry
from training.registry.model_card import read_card

__all__ = ["registry"]
LATER = Hour.parse("2016-03-14T20")


@pytest.fixture
def live(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """hrnn-b is live, of the entry my_hrnn; nothing happened."""
    monkeypatch.setattr("training.fit.retrain_signals.item_events", lambda *_: {})
    register(registry, "hrnn-b")
    install_first(registry, "hrnn-b", registry.records)
    return registry


def settings_of(registry: Registry, baseline: str) -> Settings:
    """With a baseline of the live model's own type."""
    system = read_card(registry.models / "hrnn-b").system
    models = [{"name": name, "system": system} for name in (baseline, "another")]
    return load_settings(
        None,
        {
            "work": str(registry.models.parent),
            "models": models,
            "gate": {"baseline": baseline},
            "candidate": "another",
        },
    )


@pytest.mark.parametrize(("baseline", "age_h"), [("other_knn", 7), ("my_hrnn", None)])
def test_a_live_model_of_a_baselines_type_is_none_but_by_its_name(
    live: Registry, baseline: str, age_h: int | None
) -> None:
    signals = signals_at(settings_of(live, baseline), Lake("", Path()), live, LATER)
    assert signals.age_h == age_h
