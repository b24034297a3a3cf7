"""The watch: who stays live, who is taken back, and what comes in its stead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judging import ranks_of
from lives import decided, live_ids, register, registry, store
from numpy.typing import NDArray

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.settings import GateSettings, Settings, WatchSettings
from training.artefact import WEIGHTS_NAME
from training.evaluation import Evaluation
from training.live import live_during, tenures
from training.live_record import read_event
from training.promotion import install_first, promote, rollback
from training.ranks import write_ranks
from training.registry import Registry
from training.watch import Watch
from training.watch_record import Watched, read_watched

__all__ = ["registry", "store"]
FLOOR, BEFORE, LIVE = "recent-a", "hrnn-b", "hrnn-c"
HOUR = Hour.parse("2016-03-14T15")  # the first in which hrnn-c is live
N_USERS = 200


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    gate = GateSettings(floor="my_recent", min_targets=50)
    return Settings(work=tmp_path, gate=gate, watch=WatchSettings(min_users=30))


@pytest.fixture
def shop(registry: Registry) -> Registry:
    """The floor was live first, then hrnn-b, then hrnn-c; recent-z is the floor's latest fit."""
    register(registry, FLOOR, BEFORE, LIVE, "recent-z")
    install_first(registry, FLOOR, registry.records)
    promote(registry, decided(registry, BEFORE))
    promote(registry, decided(registry, LIVE, hour="2016-03-14T14"))
    return registry


def skill(share: float, seed: int = 0) -> NDArray[np.int64]:
    """Ranks of two targets for each user, so many of which a model puts first."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(2 * N_USERS) < share, 1, 400)


def watch(
    settings: Settings,
    registry: Registry,
    ranks: dict[str, NDArray[np.int64]],
    hour: Hour = HOUR,
    **changes: Any,
) -> Watched:
    """Judge an hour on which models were evaluated with these ranks."""
    frozen_id = f"frozen-{hour}"
    user = np.repeat(np.arange(N_USERS), 2)
    for model_id, rank in ranks.items():
        stored = ranks_of(
            model_id, rank, user[: rank.size], frozen_id=frozen_id, rule=settings.evaluation
        )
        write_ranks(stored, settings.path("evaluations"))
    failures = changes.pop("failures", {})
    names = {model_id: model_id for model_id in [*ranks, *failures]}
    found = Evaluation(frozen_id, str(hour), 2 * N_USERS, 0, names, [], failures)
    judge = Watch(
        settings=settings,
        registry=registry,
        evaluation=found,
        hours=HourRange(hour, hour + 1),
        floor_id="recent-z",
        quality_passed=True,
        at=f"{hour + 1}:02:00",
    )
    tenure = live_during(tenures(registry, registry.records), hour)
    assert tenure is not None
    watched, path = replace(judge, **changes)(tenure)
    assert read_watched(path) == watched
    assert path.name.startswith(f"{hour}-{tenure.model_id}-")
    return watched


def told(watched: Watched) -> tuple[str, str]:
    return watched.outcome.value, watched.reason


def test_a_model_better_than_the_floor_stays(settings: Settings, shop: Registry) -> None:
    found = watch(settings, shop, {LIVE: skill(0.5), "recent-z": skill(0.3, 1)})
    assert told(found) == ("kept", "not_below_floor")
    assert live_ids(shop) == (LIVE, BEFORE)
    assert found.numbers is not None
    assert (found.numbers.users, found.numbers.targets) == (N_USERS, 2 * N_USERS)
    assert found.numbers.live == pytest.approx(float((skill(0.5) == 1).mean()))
    assert found.numbers.lower < found.numbers.difference < found.numbers.upper


def test_a_little_worse_by_chance_is_not_surely_worse(settings: Settings, shop: Registry) -> None:
    found = watch(settings, shop, {LIVE: skill(0.29), "recent-z": skill(0.3, 1)})
    assert told(found) == ("kept", "not_below_floor")


def test_below_the_floor_the_previous_model_comes_back(settings: Settings, shop: Registry) -> None:
    ranks = {LIVE: skill(0.1), BEFORE: skill(0.5, 2), "recent-z": skill(0.4, 1)}
    found = watch(settings, shop, ranks)
    assert told(found) == ("replaced", "below_floor")
    assert found.replaced_by == BEFORE
    assert live_ids(shop) == (BEFORE, FLOOR)
    assert found.live_record is not None
    event = read_event(shop.records / found.live_record)
    assert (event.kind, event.reason, event.as_of) == ("rollback", "below_floor", HOUR + 1)
    assert event.before is not None
    assert event.before.model_id == LIVE
    assert "hrnn-c is surely below the floor" in event.sentence


def test_a_previous_model_below_the_floor_does_not_come_back(
    settings: Settings, shop: Registry
) -> None:
    ranks = {LIVE: skill(0.1), BEFORE: skill(0.1, 2), "recent-z": skill(0.4, 1)}
    found = watch(settings, shop, ranks)
    assert found.replaced_by == "recent-z"
    assert live_ids(shop) == ("recent-z", FLOOR)  # nobody goes back to hrnn-b either
    (_, _, _, now) = tenures(shop, shop.records)
    assert (now.model_id, now.name, now.since_hour) == ("recent-z", "my_recent", HOUR + 1)


def test_a_previous_model_that_was_not_evaluated_does_not_come_back_but_may_later(
    settings: Settings, shop: Registry
) -> None:
    found = watch(settings, shop, {LIVE: skill(0.1), "recent-z": skill(0.4, 1)})
    assert found.replaced_by == "recent-z"
    assert live_ids(shop) == ("recent-z", BEFORE)


def test_a_previous_model_of_the_floors_line_is_never_below_it(
    settings: Settings, shop: Registry
) -> None:
    rollback(shop, shop.records, "first back to hrnn-b, before which the floor was live")
    found = watch(settings, shop, {BEFORE: skill(0.1), "recent-z": skill(0.4, 1)})
    assert found.replaced_by == FLOOR


def test_one_that_failed_to_score_is_replaced(settings: Settings, shop: Registry) -> None:
    ranks = {BEFORE: skill(0.5, 2), "recent-z": skill(0.4, 1)}
    found = watch(settings, shop, ranks, failures={LIVE: "hrnn: out of memory"})
    assert told(found) == ("replaced", "cannot_score")
    assert "hrnn: out of memory" in found.sentence
    assert live_ids(shop) == (BEFORE, FLOOR)


def test_one_that_does_not_load_is_replaced_even_on_bad_data(
    settings: Settings, shop: Registry
) -> None:
    (shop.models / LIVE / WEIGHTS_NAME).write_bytes(b"")
    found = watch(settings, shop, {"recent-z": skill(0.4)}, quality_passed=False)
    assert told(found) == ("replaced", "cannot_score")
    assert found.replaced_by == "recent-z"


def test_where_nothing_else_loads_the_champion_stays_and_people_are_told(
    settings: Settings, shop: Registry
) -> None:
    for model_id in (LIVE, BEFORE, "recent-z"):
        (shop.models / model_id / WEIGHTS_NAME).write_bytes(b"")
    with pytest.raises(HourglassError, match="but nothing can replace it"):
        watch(settings, shop, {})
    assert live_ids(shop) == (LIVE, BEFORE)


@pytest.mark.parametrize(("passed", "reason"), [(False, "bad_data"), (None, "data_not_validated")])
def test_bad_data_condemn_nobody(
    settings: Settings, shop: Registry, passed: bool | None, reason: str
) -> None:
    ranks = {LIVE: skill(0.1), BEFORE: skill(0.5, 2), "recent-z": skill(0.4, 1)}
    found = watch(settings, shop, ranks, quality_passed=passed)
    assert told(found) == ("unjudged", reason)
    assert live_ids(shop) == (LIVE, BEFORE)


def test_few_users_condemn_nobody(settings: Settings, shop: Registry) -> None:
    few = {LIVE: skill(0.0)[:58], "recent-z": skill(1.0)[:58]}
    assert told(watch(settings, shop, few)) == ("unjudged", "few_users")
    enough = {LIVE: skill(0.0)[:60], "recent-z": skill(0.9)[:60]}
    assert told(watch(settings, shop, enough, at="later")) == ("replaced", "below_floor")


def test_a_model_that_was_not_evaluated_is_not_judged(settings: Settings, shop: Registry) -> None:
    found = watch(settings, shop, {"recent-z": skill(0.4)})
    assert told(found) == ("unjudged", "not_evaluated")


def test_the_floor_is_never_below_itself(settings: Settings, shop: Registry) -> None:
    ranks = {FLOOR: skill(0.1), "recent-z": skill(0.4, 1)}
    found = watch(settings, shop, ranks, hour=Hour.parse("2016-03-14T13"))
    assert told(found) == ("kept", "is_the_floor")


def test_the_judgement_of_its_predecessor_does_not_touch_a_new_champion(
    settings: Settings, shop: Registry
) -> None:
    ranks = {LIVE: skill(0.5), BEFORE: skill(0.1, 2), "recent-z": skill(0.4, 1)}
    found = watch(settings, shop, ranks, hour=HOUR - 1)
    assert found.model.model_id == BEFORE
    assert told(found) == ("unjudged", "not_live_any_more")
    assert live_ids(shop) == (LIVE, BEFORE)


def test_judging_the_hour_again_changes_nothing(settings: Settings, shop: Registry) -> None:
    ranks = {LIVE: skill(0.1), BEFORE: skill(0.5, 2), "recent-z": skill(0.4, 1)}
    once = watch(settings, shop, ranks)
    live = live_ids(shop)
    assert watch(settings, shop, ranks, at="later") == once
    assert live_ids(shop) == live


def test_a_small_loss_is_seen_when_it_lasts(settings: Settings, shop: Registry) -> None:
    outcomes = []
    for step in range(60):
        ranks = {
            LIVE: skill(0.34, 500 + 2 * step),
            BEFORE: skill(0.5, 999),
            "recent-z": skill(0.4, 501 + 2 * step),
        }
        found = watch(settings, shop, ranks, hour=HOUR + step)
        outcomes.append(found.outcome.value)
        if found.outcome.value == "replaced":
            break
    assert outcomes[-1] == "replaced"
    assert 3 < len(outcomes) < 50
    assert found.numbers is not None
    assert found.numbers.upper > 0  # this hour alone would not have done
    assert found.numbers.statistic >= found.numbers.bound
