"""The monitor with several baselines: surely below any of them, a model gives way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from lives import Prepared, decided, live_ids, register, registry
from monitoring import BEFORE, FLOOR, HOUR, LIVE, N_USERS, monitored, skill, told
from numpy.typing import NDArray

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.sealed_json import read_record
from pipeline.settings.learning import GateSettings, MonitorSettings
from pipeline.settings.settings import Settings
from training.deployment.monitor_comparison import BaselineComparison
from training.deployment.monitor_record import MonitorResult, read_monitor_result
from training.deployment.promote import install_first, promote, roll_back_by_hand
from training.evaluation.evaluate import Evaluation
from training.registry.artefact import WEIGHTS_NAME
from training.registry.mlflow_registry import Registry

__all__ = ["registry"]
IDS = {"my_recent": "recent-z", "my_stan": "stan-z"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    gate = GateSettings(baseline=("my_recent", "my_stan"), min_targets=50)
    return Settings(work=tmp_path, gate=gate, monitor=MonitorSettings(min_users=30))


def with_two_baselines(registry: Registry) -> None:
    """The first baseline was live, then hrnn-b, then hrnn-c; both baselines have newer fits."""
    register(registry, FLOOR, BEFORE, LIVE, "recent-z", "stan-z")
    install_first(registry, FLOOR, registry.records)
    promote(registry, decided(registry, BEFORE))
    promote(registry, decided(registry, LIVE, hour="2016-03-14T14"))


@pytest.fixture(scope="module")
def prepared_shop(mlflow_tables: None, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(tmp_path_factory.mktemp("shop"), with_two_baselines)


@pytest.fixture
def shop(prepared_shop: Prepared, tmp_path: Path) -> Registry:
    return prepared_shop.at(tmp_path)


def judged(
    settings: Settings,
    registry: Registry,
    ranks: Mapping[str, NDArray[np.int64]],
    hour: Hour = HOUR,
    **changes: object,
) -> MonitorResult:
    changes.setdefault("baseline_ids", IDS)
    return monitored(settings, registry, dict(ranks), hour=hour, **changes)


def test_above_each_baseline_it_stays_and_each_is_told(settings: Settings, shop: Registry) -> None:
    ranks = {LIVE: skill(0.5), "recent-z": skill(0.2, 1), "stan-z": skill(0.3, 2)}
    found = judged(settings, shop, ranks)
    assert told(found) == ("kept", "not_below_floor")
    assert "not below the best baseline beside it on" in found.sentence
    assert "of the baseline my_stan, difference +0." in found.sentence
    assert found.floor_id == "stan-z"
    assert found.baselines is not None
    shares = {name: each.numbers.floor for name, each in found.baselines.items()}
    assert shares == pytest.approx({name: float((ranks[IDS[name]] == 1).mean()) for name in IDS})
    assert found.numbers == found.baselines["my_stan"].numbers


@pytest.mark.parametrize("better", ["recent-z", "stan-z"])
def test_below_any_baseline_it_gives_way(settings: Settings, shop: Registry, better: str) -> None:
    ranks = {LIVE: skill(0.3), "recent-z": skill(0.1, 1), "stan-z": skill(0.1, 2)}
    found = judged(settings, shop, ranks | {better: skill(0.5, 3)})
    assert told(found) == ("replaced", "below_floor")
    # The previous model was not evaluated, so nobody knows that it is better.
    assert found.replaced_by == better == found.floor_id
    assert live_ids(shop) == (better, BEFORE)
    name = {model_id: name for name, model_id in IDS.items()}[better]
    assert f"surely below the baseline {name} on" in found.sentence


def test_of_two_that_are_better_the_best_comes(settings: Settings, shop: Registry) -> None:
    ranks = {LIVE: skill(0.1), "recent-z": skill(0.4, 1), "stan-z": skill(0.6, 2)}
    assert judged(settings, shop, ranks).replaced_by == "stan-z"


def test_the_previous_model_comes_back_unless_it_is_below_any_of_them(
    settings: Settings, shop: Registry
) -> None:
    ranks = {LIVE: skill(0.1), "recent-z": skill(0.2, 1), "stan-z": skill(0.5, 2)}
    below_one = judged(settings, shop, {**ranks, BEFORE: skill(0.3, 3)})
    assert below_one.replaced_by == "stan-z"
    assert live_ids(shop) == ("stan-z", FLOOR)  # nobody goes back to hrnn-b either


def test_the_previous_model_that_is_above_them_all_comes_back(
    settings: Settings, shop: Registry
) -> None:
    ranks = {LIVE: skill(0.1), "recent-z": skill(0.2, 1), "stan-z": skill(0.5, 2)}
    assert judged(settings, shop, {**ranks, BEFORE: skill(0.6, 3)}).replaced_by == BEFORE


def test_a_baseline_that_is_live_gives_way_to_a_better_one(
    settings: Settings, shop: Registry
) -> None:
    """Its own line's newest fit is not asked for: it is compared with the others alone."""
    roll_back_by_hand(shop, shop.records, "to hrnn-b")
    roll_back_by_hand(shop, shop.records, "to the first baseline")
    ranks = {FLOOR: skill(0.2), "recent-z": skill(0.9, 1), "stan-z": skill(0.5, 2)}
    found = judged(settings, shop, ranks)
    assert told(found) == ("replaced", "below_floor")
    assert found.baselines is not None
    assert set(found.baselines) == {"my_stan"}
    assert live_ids(shop)[0] == "stan-z"


def test_a_baseline_that_is_the_best_of_them_stays(settings: Settings, shop: Registry) -> None:
    roll_back_by_hand(shop, shop.records, "to hrnn-b")
    roll_back_by_hand(shop, shop.records, "to the first baseline")
    ranks = {FLOOR: skill(0.5), "recent-z": skill(0.5, 1), "stan-z": skill(0.2, 2)}
    assert told(judged(settings, shop, ranks)) == ("kept", "not_below_floor")


def test_a_previous_baseline_below_another_does_not_come_back(
    settings: Settings, shop: Registry
) -> None:
    """Of a single one that is never asked; of several the better one comes instead."""
    roll_back_by_hand(shop, shop.records, "to hrnn-b, before which the baseline was live")
    ranks = {
        BEFORE: skill(0.1),
        FLOOR: skill(0.2, 4),
        "recent-z": skill(0.2, 1),
        "stan-z": skill(0.5, 2),
    }
    assert judged(settings, shop, ranks).replaced_by == "stan-z"


def test_a_model_that_cannot_score_gives_way_to_the_best_baseline(
    settings: Settings, shop: Registry
) -> None:
    for model_id in (LIVE, BEFORE):
        (shop.models / model_id / WEIGHTS_NAME).write_bytes(b"")
    ranks = {"recent-z": skill(0.2, 1), "stan-z": skill(0.5, 2)}
    found = judged(settings, shop, ranks)
    assert told(found) == ("replaced", "cannot_score")
    assert found.replaced_by == "stan-z"


def test_without_figures_the_first_of_the_list_comes(settings: Settings, shop: Registry) -> None:
    for model_id in (LIVE, BEFORE):
        (shop.models / model_id / WEIGHTS_NAME).write_bytes(b"")
    gate = settings.gate.model_copy(update={"baseline": ("my_stan", "my_recent")})
    found = judged(settings.model_copy(update={"gate": gate}), shop, {})
    assert found.replaced_by == "stan-z"


def test_the_next_baseline_comes_where_the_best_does_not_load(
    settings: Settings, shop: Registry
) -> None:
    for model_id in (LIVE, BEFORE, "stan-z"):
        (shop.models / model_id / WEIGHTS_NAME).write_bytes(b"")
    ranks = {"recent-z": skill(0.2, 1), "stan-z": skill(0.5, 2)}
    assert judged(settings, shop, ranks).replaced_by == "recent-z"


def test_one_that_was_not_evaluated_is_missed_unless_another_condemns(
    settings: Settings, shop: Registry
) -> None:
    above = judged(settings, shop, {LIVE: skill(0.5), "recent-z": skill(0.2, 1)})
    assert told(above) == ("unjudged", "not_evaluated")
    assert "and the baseline my_stan were not both evaluated" in above.sentence
    nobody = judged(settings, shop, {LIVE: skill(0.5)}, hour=HOUR + 1)
    assert "and the baselines my_recent, my_stan were not all evaluated" in nobody.sentence
    below = judged(settings, shop, {LIVE: skill(0.1), "recent-z": skill(0.5, 1)}, hour=HOUR + 2)
    assert told(below) == ("replaced", "below_floor")


def test_several_baselines_divide_the_risk(settings: Settings, shop: Registry) -> None:
    """A model as good as all of them stays as surely as one beside a single baseline."""
    ranks = {LIVE: skill(0.5), "recent-z": skill(0.2, 1), "stan-z": skill(0.3, 2)}
    found = judged(settings, shop, ranks)
    assert found.numbers is not None
    assert found.numbers.confidence == pytest.approx(1 - 0.005 / 2 / 168)
    assert found.numbers.bound == pytest.approx(np.log(2 / 0.005))
    one = settings.model_copy(
        update={"gate": settings.gate.model_copy(update={"baseline": "my_recent"})}
    )
    alone = judged(one, shop, ranks, hour=HOUR + 1, baseline_ids={"my_recent": "recent-z"})
    assert alone.numbers is not None
    assert alone.numbers.confidence == pytest.approx(1 - 0.005 / 168)


def test_the_baseline_that_condemns_decides_though_another_may_be_better(
    settings: Settings, shop: Registry
) -> None:
    """As where the other was missing in the hours before, and one hour proves nothing yet."""
    found = judged(settings, shop, equal(0))
    assert found.baselines is not None
    once = found.baselines["my_recent"]
    compared = {
        "sure": replace(once, numbers=replace(once.numbers, difference=-0.1, upper=-0.05)),
        "unsure": replace(once, numbers=replace(once.numbers, difference=-0.2, upper=0.1)),
    }
    evaluation = Evaluation("frozen", str(HOUR), 0, 0, {}, [], {})
    users = np.array([], dtype=object)
    beside = BaselineComparison(settings, evaluation, HourRange(HOUR, HOUR + 1), users, IDS)
    assert beside.decisive(compared) == "sure"
    compared["sure"] = replace(once, numbers=replace(once.numbers, difference=-0.1, upper=0.05))
    assert beside.decisive(compared) == "unsure"
    assert beside.decisive({}) is None


def equal(n: int) -> dict[str, NDArray[np.int64]]:
    return {
        model_id: skill(0.4, 3 * n + at) for at, model_id in enumerate((LIVE, "recent-z", "stan-z"))
    }


def test_looks_at_each_count_together_in_whatever_order_they_are_listed(
    settings: Settings, shop: Registry
) -> None:
    for n in range(4):
        names = ("my_recent", "my_stan") if n % 2 else ("my_stan", "my_recent")
        gate = settings.gate.model_copy(update={"baseline": names})
        found = judged(settings.model_copy(update={"gate": gate}), shop, equal(n), hour=HOUR + n)
        assert found.baselines is not None
        assert {each.numbers.chain for each in found.baselines.values()} == {n + 1}


def test_looks_against_a_single_baseline_do_not_count_with_those_at_several(
    settings: Settings, shop: Registry
) -> None:
    one = settings.model_copy(
        update={"gate": settings.gate.model_copy(update={"baseline": "my_recent"})}
    )
    judged(one, shop, equal(0), baseline_ids={"my_recent": "recent-z"})
    found = judged(settings, shop, equal(1), hour=HOUR + 1)
    assert found.numbers is not None
    assert found.numbers.chain == 1


def test_a_baseline_that_was_missing_once_goes_on_where_it_was(
    settings: Settings, shop: Registry
) -> None:
    judged(settings, shop, equal(0))
    judged(settings, shop, {k: v for k, v in equal(1).items() if k != "stan-z"}, hour=HOUR + 1)
    found = judged(settings, shop, equal(2), hour=HOUR + 2)
    assert found.baselines is not None
    chains = {name: each.numbers.chain for name, each in found.baselines.items()}
    assert chains == {"my_recent": 3, "my_stan": 2}


def test_a_small_loss_against_one_of_them_is_seen_when_it_lasts(
    settings: Settings, shop: Registry
) -> None:
    outcomes = []
    for step in range(60):
        ranks = {
            LIVE: skill(0.34, 500 + 3 * step),
            "recent-z": skill(0.2, 502 + 3 * step),
            "stan-z": skill(0.4, 501 + 3 * step),
        }
        found = judged(settings, shop, ranks, hour=HOUR + step)
        outcomes.append(found.outcome.value)
        if found.outcome.value == "replaced":
            break
    assert outcomes[-1] == "replaced"
    assert 3 < len(outcomes) < 50
    assert found.replaced_by == "stan-z"


def test_what_users_added_against_any_of_them_must_still_be_there(
    settings: Settings, shop: Registry
) -> None:
    first = judged(settings, shop, equal(0))
    assert first.baselines is not None
    assert len({each.users.file for each in first.baselines.values()}) == 2
    (settings.path("monitor") / "users" / first.baselines["my_stan"].users.file).unlink()
    with pytest.raises(HourglassError, match="gone, though a decision counted it"):
        judged(settings, shop, equal(1), hour=HOUR + 1)


def test_a_finding_on_one_baseline_is_written_as_ever(settings: Settings, shop: Registry) -> None:
    one = settings.model_copy(
        update={"gate": settings.gate.model_copy(update={"baseline": "my_recent"})}
    )
    judged(one, shop, equal(0), baseline_ids={"my_recent": "recent-z"})
    (path,) = settings.path("monitor").glob("*.json")
    content = read_record(path).content
    assert "baselines" not in content
    assert content["rule"]["floor"] == "my_recent"
    assert content["floor_id"] == "recent-z"
    assert content["users"] is not None
    read = read_monitor_result(path)
    assert read.users_against("my_recent") == read.users
    assert {"baselines"} == set(asdict(read)) - set(content) - {"format", "kind"}
    assert read.numbers.users == N_USERS  # type: ignore[union-attr]
