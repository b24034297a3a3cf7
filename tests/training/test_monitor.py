"""The monitor: who stays live, who is rolled back, and what comes in its stead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from lives import Prepared, decided, live_ids, register, registry, training, write_model
from monitoring import BEFORE, FLOOR, HOUR, LIVE, N_USERS, monitored, skill, told
from numpy.typing import NDArray

from benchmarks.gate_poison import rewrite_card
from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.settings.learning import GateSettings, MonitorSettings
from pipeline.settings.settings import Settings
from training.deployment import monitor, monitor_record
from training.deployment.champion import changing
from training.deployment.champion_history import champion_periods
from training.deployment.monitor_record import (
    monitor_results_between,
)
from training.deployment.promote import install_first, promote, roll_back_by_hand
from training.gate.sequential_test import sequential
from training.registry.artefact import WEIGHTS_NAME
from training.registry.champion_record import read_event
from training.registry.mlflow_registry import Registry
from training.registry.mlflow_run import log_training
from training.registry.model_card import CARD_NAME
from training.registry.record_chain import JOURNAL, verified_chain

__all__ = ["registry"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    gate = GateSettings(baseline="my_recent", min_targets=50)
    return Settings(work=tmp_path, gate=gate, monitor=MonitorSettings(min_users=30))


def with_three_champions(registry: Registry) -> None:
    """The floor was live first, then hrnn-b, then hrnn-c; recent-z is the floor's latest fit."""
    register(registry, FLOOR, BEFORE, LIVE, "recent-z")
    install_first(registry, FLOOR, registry.records)
    promote(registry, decided(registry, BEFORE))
    promote(registry, decided(registry, LIVE, hour="2016-03-14T14"))


@pytest.fixture(scope="module")
def prepared_shop(mlflow_tables: None, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(tmp_path_factory.mktemp("shop"), with_three_champions)


@pytest.fixture
def shop(prepared_shop: Prepared, tmp_path: Path) -> Registry:
    """A registry `with_three_champions`."""
    return prepared_shop.at(tmp_path)


def test_a_model_better_than_the_floor_stays(settings: Settings, shop: Registry) -> None:
    found = monitored(settings, shop, {LIVE: skill(0.5), "recent-z": skill(0.3, 1)})
    assert told(found) == ("kept", "not_below_floor")
    assert live_ids(shop) == (LIVE, BEFORE)
    assert found.numbers is not None
    assert (found.numbers.users, found.numbers.targets) == (N_USERS, 2 * N_USERS)
    assert found.numbers.live == pytest.approx(float((skill(0.5) == 1).mean()))
    assert found.numbers.lower < found.numbers.difference < found.numbers.upper


def test_a_little_worse_by_chance_is_not_surely_worse(settings: Settings, shop: Registry) -> None:
    found = monitored(settings, shop, {LIVE: skill(0.29), "recent-z": skill(0.3, 1)})
    assert told(found) == ("kept", "not_below_floor")


def test_below_the_floor_the_previous_model_comes_back(settings: Settings, shop: Registry) -> None:
    ranks = {LIVE: skill(0.1), BEFORE: skill(0.5, 2), "recent-z": skill(0.4, 1)}
    found = monitored(settings, shop, ranks)
    assert told(found) == ("replaced", "below_floor")
    assert found.replaced_by == BEFORE
    assert live_ids(shop) == (BEFORE, FLOOR)
    assert found.live_record is not None
    event = read_event(shop.records / found.live_record)
    assert (event.kind, event.reason, event.as_of) == ("rollback", "below_floor", HOUR + 1)
    assert event.before is not None
    assert event.before.model_id == LIVE
    assert "hrnn-c is surely below the baseline" in event.sentence


def test_a_forged_model_is_taken_back_and_its_file_is_named(
    settings: Settings, shop: Registry
) -> None:
    rewrite_card(shop.models / LIVE, metrics={"loss": 0.0})
    rewrite_card(shop.models / BEFORE, metrics={"loss": 0.0})
    ranks = {LIVE: skill(0.5), BEFORE: skill(0.5, 2), "recent-z": skill(0.3, 1)}
    found = monitored(settings, shop, ranks)
    assert told(found) == ("replaced", "cannot_score")
    assert f"{LIVE}/{CARD_NAME}: not the card that MLflow recorded" in found.sentence
    assert found.replaced_by == "recent-z"  # the previous one is forged too


def test_a_finding_that_replaced_a_model_is_a_link_of_the_chain(
    settings: Settings, shop: Registry
) -> None:
    ranks = {LIVE: skill(0.1), BEFORE: skill(0.5, 2), "recent-z": skill(0.4, 1)}
    monitored(settings, shop, ranks)
    (record,) = settings.path("monitor").glob("*.json")
    whole = record.read_bytes()
    record.unlink()
    for act in (
        lambda: roll_back_by_hand(shop, shop.records, "bad"),
        lambda: promote(shop, decided(shop, LIVE, hour="2016-03-14T16")),
    ):
        with pytest.raises(HourglassError, match=f"monitor/{record.name}: missing"):
            act()
    record.write_bytes(whole)
    assert roll_back_by_hand(shop, shop.records, "bad").champion.model_id == FLOOR


def test_a_previous_model_below_the_floor_does_not_come_back(
    settings: Settings, shop: Registry
) -> None:
    ranks = {LIVE: skill(0.1), BEFORE: skill(0.1, 2), "recent-z": skill(0.4, 1)}
    found = monitored(settings, shop, ranks)
    assert found.replaced_by == "recent-z"
    assert live_ids(shop) == ("recent-z", FLOOR)  # nobody goes back to hrnn-b either
    (_, _, _, now) = champion_periods(shop, shop.records)
    assert (now.model_id, now.name, now.since_hour) == ("recent-z", "my_recent", HOUR + 1)


def test_a_previous_model_that_was_not_evaluated_does_not_come_back_but_may_later(
    settings: Settings, shop: Registry
) -> None:
    found = monitored(settings, shop, {LIVE: skill(0.1), "recent-z": skill(0.4, 1)})
    assert found.replaced_by == "recent-z"
    assert live_ids(shop) == ("recent-z", BEFORE)


def test_a_previous_model_of_the_floors_line_is_never_below_it(
    settings: Settings, shop: Registry
) -> None:
    roll_back_by_hand(shop, shop.records, "first back to hrnn-b, before which the floor was live")
    found = monitored(settings, shop, {BEFORE: skill(0.1), "recent-z": skill(0.4, 1)})
    assert found.replaced_by == FLOOR


def test_one_that_failed_to_score_is_replaced(settings: Settings, shop: Registry) -> None:
    ranks = {BEFORE: skill(0.5, 2), "recent-z": skill(0.4, 1)}
    found = monitored(settings, shop, ranks, failures={LIVE: "hrnn: out of memory"})
    assert told(found) == ("replaced", "cannot_score")
    assert "hrnn: out of memory" in found.sentence
    assert live_ids(shop) == (BEFORE, FLOOR)


def test_one_that_does_not_load_is_replaced_even_on_bad_data(
    settings: Settings, shop: Registry
) -> None:
    (shop.models / LIVE / WEIGHTS_NAME).write_bytes(b"")
    found = monitored(settings, shop, {"recent-z": skill(0.4)}, quality_passed=False)
    assert told(found) == ("replaced", "cannot_score")
    assert found.replaced_by == "recent-z"


def test_where_nothing_else_loads_the_champion_stays_and_people_are_told(
    settings: Settings, shop: Registry
) -> None:
    for model_id in (LIVE, BEFORE, "recent-z"):
        (shop.models / model_id / WEIGHTS_NAME).write_bytes(b"")
    with pytest.raises(HourglassError, match="but nothing can replace it"):
        monitored(settings, shop, {})
    assert live_ids(shop) == (LIVE, BEFORE)


@pytest.mark.parametrize(("passed", "reason"), [(False, "bad_data"), (None, "data_not_validated")])
def test_bad_data_condemn_nobody(
    settings: Settings, shop: Registry, passed: bool | None, reason: str
) -> None:
    ranks = {LIVE: skill(0.1), BEFORE: skill(0.5, 2), "recent-z": skill(0.4, 1)}
    found = monitored(settings, shop, ranks, quality_passed=passed)
    assert told(found) == ("unjudged", reason)
    assert live_ids(shop) == (LIVE, BEFORE)


def test_few_users_condemn_nobody(settings: Settings, shop: Registry) -> None:
    few = {LIVE: skill(0.0)[:58], "recent-z": skill(1.0)[:58]}
    assert told(monitored(settings, shop, few)) == ("unjudged", "few_users")
    enough = {LIVE: skill(0.0)[:60], "recent-z": skill(0.9)[:60]}
    assert told(monitored(settings, shop, enough, at="later")) == ("replaced", "below_floor")


def test_a_model_that_was_not_evaluated_is_not_judged(settings: Settings, shop: Registry) -> None:
    found = monitored(settings, shop, {"recent-z": skill(0.4)})
    assert told(found) == ("unjudged", "not_evaluated")


def test_the_floor_is_never_below_itself(settings: Settings, shop: Registry) -> None:
    ranks = {FLOOR: skill(0.1), "recent-z": skill(0.4, 1)}
    found = monitored(settings, shop, ranks, hour=Hour.parse("2016-03-14T13"))
    assert told(found) == ("kept", "is_the_floor")


def test_the_judgement_of_its_predecessor_does_not_touch_a_new_champion(
    settings: Settings, shop: Registry
) -> None:
    ranks = {LIVE: skill(0.5), BEFORE: skill(0.1, 2), "recent-z": skill(0.4, 1)}
    found = monitored(settings, shop, ranks, hour=HOUR - 1)
    assert found.model.model_id == BEFORE
    assert told(found) == ("unjudged", "not_live_any_more")
    assert live_ids(shop) == (LIVE, BEFORE)


def test_judging_the_hour_again_changes_nothing(settings: Settings, shop: Registry) -> None:
    ranks = {LIVE: skill(0.1), BEFORE: skill(0.5, 2), "recent-z": skill(0.4, 1)}
    once = monitored(settings, shop, ranks)
    live = live_ids(shop)
    assert monitored(settings, shop, ranks, at="later") == once
    assert live_ids(shop) == live


def test_a_small_loss_is_seen_when_it_lasts(settings: Settings, shop: Registry) -> None:
    outcomes = []
    for step in range(60):
        ranks = {
            LIVE: skill(0.34, 500 + 2 * step),
            BEFORE: skill(0.5, 999),
            "recent-z": skill(0.4, 501 + 2 * step),
        }
        found = monitored(settings, shop, ranks, hour=HOUR + step)
        outcomes.append(found.outcome.value)
        if found.outcome.value == "replaced":
            break
    assert outcomes[-1] == "replaced"
    assert 3 < len(outcomes) < 50
    assert found.numbers is not None
    assert found.numbers.upper > 0  # this hour alone would not have done
    assert found.numbers.statistic >= found.numbers.bound


# Looks that count together


def equal(n: int, skill_of_both: float = 0.4) -> dict[str, NDArray[np.int64]]:
    """Ranks of two models that are as good as each other, in the n-th hour."""
    return {LIVE: skill(skill_of_both, 2 * n), "recent-z": skill(skill_of_both, 2 * n + 1)}


def test_looks_of_many_hours_that_overlap_count_their_events_once(
    settings: Settings, shop: Registry
) -> None:
    found = [monitored(settings, shop, equal(n), hour=HOUR + n, horizon=6) for n in range(14)]
    numbers = [one.numbers for one in found if one.numbers is not None]
    # Hours 15, 21 and 3 make one chain of looks, 16, 22 and 4 the next.
    assert [one.chain for one in numbers] == [1] * 6 + [2] * 6 + [3] * 2
    assert {one.targets for one in numbers} == {2 * N_USERS}
    # Six such chains, and a look every hour of the week, share the risk.
    assert numbers[0].bound == pytest.approx(np.log(6 / 0.005))
    assert numbers[0].confidence == pytest.approx(1 - 0.005 / 168)


def test_looks_of_another_length_begin_anew(settings: Settings, shop: Registry) -> None:
    monitored(settings, shop, equal(0))
    found = monitored(settings, shop, equal(1), hour=HOUR + 3, horizon=3)
    assert found.numbers is not None
    assert found.numbers.chain == 1


def test_a_lasting_taste_of_users_who_return_is_no_proof(
    settings: Settings, shop: Registry
) -> None:
    """Each user finds one of the models better, always the same one; in all they are equal."""
    loves_floor = np.random.default_rng(26).random(N_USERS) < 0.5
    come = np.flatnonzero(loves_floor)[:60].tolist() + np.flatnonzero(~loves_floor)[:40].tolist()
    user = np.repeat(come, 2)
    first = np.where(loves_floor[user], 1, 5)
    ranks = {"recent-z": first, LIVE: np.where(first == 1, 5, 1)}
    looks = []
    for n in range(30):
        found = monitored(settings, shop, ranks, hour=HOUR + n, user=user)
        assert told(found) == ("kept", "not_below_floor")
        assert found.numbers is not None
        looks.append(found.numbers.sums)
    # Were they other users each hour, that 60 of 100 like the floor better would be sure.
    as_strangers = sequential(looks, alpha=0.005, common_shock=0.0, scale=1.0)
    assert as_strangers.proven
    assert found.numbers is not None
    assert found.numbers.statistic < found.numbers.bound


def test_people_are_counted_not_their_hours(settings: Settings, shop: Registry) -> None:
    day = settings.model_copy(update={"monitor": MonitorSettings(min_users=30, hours=24)})
    few = {LIVE: skill(0.0)[:58], "recent-z": skill(1.0)[:58]}
    for n in range(4):
        found = monitored(day, shop, few, hour=HOUR + n)
        assert told(found) == ("unjudged", "few_users")
    assert found.numbers is not None
    assert (found.numbers.users, found.numbers.targets, found.numbers.looks) == (29, 4 * 58, 4)


def test_what_users_added_must_still_be_there(settings: Settings, shop: Registry) -> None:
    monitored(settings, shop, equal(0))
    (file,) = (settings.path("monitor") / "users").iterdir()
    file.chmod(0o644)
    file.write_bytes(b"")
    with pytest.raises(HourglassError, match="changed after it was written"):
        monitored(settings, shop, equal(1), hour=HOUR + 1)


def test_looks_count_also_when_they_are_filed_away(
    settings: Settings, shop: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a period has more findings than the folder."""
    monkeypatch.setattr(monitor_record, "RECENT", 2)
    for n in range(7):
        result = monitored(settings, shop, equal(n), hour=HOUR + n)
        assert result.numbers is not None
        assert result.numbers.chain == n + 1
    assert list((settings.path("monitor") / "past").rglob("*.json"))


def test_a_model_is_taken_back_though_nothing_can_be_filed_away(
    settings: Settings, shop: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk; what was done is noted, and linked."""
    monkeypatch.setattr(monitor_record, "RECENT", 1)
    for n in range(3):
        monitored(settings, shop, equal(n), hour=HOUR + n)
    (settings.path("monitor") / "past").write_text("no folder can be made here")
    ranks = {LIVE: skill(0.1), BEFORE: skill(0.5, 2), "recent-z": skill(0.4, 1)}
    assert told(monitored(settings, shop, ranks, hour=HOUR + 3)) == ("replaced", "below_floor")
    assert len(list(settings.path("monitor").glob("*.json"))) == 4
    assert roll_back_by_hand(shop, shop.records, "bad").champion.model_id == FLOOR


# Records that the version before wrote, to a folder and of a kind that were called otherwise


@contextmanager
def version_before() -> Iterator[None]:
    """Records are written as that version wrote them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monitor, "MONITOR_FOLDER", "watch")
        patch.setattr(monitor, "MONITOR_KIND", "watch")
        patch.setattr(monitor_record, "MONITOR_KIND", "watch")
        yield


def test_looks_of_the_version_before_count(settings: Settings, shop: Registry) -> None:
    with version_before():
        first = [monitored(settings, shop, equal(n), hour=HOUR + n) for n in range(2)]
    assert {one.numbers.chain for one in first if one.numbers} == {1, 2}
    before = sorted(settings.path("watch").rglob("*"))
    third = monitored(settings, shop, equal(2), hour=HOUR + 2)
    assert third.numbers is not None
    assert third.numbers.chain == 3
    assert sorted(settings.path("watch").rglob("*")) == before  # nothing is moved
    between = monitor_results_between(settings.path("monitor"), HOUR, HOUR + 3)
    assert [result for _, result in between] == [*first, third]
    assert [path.parent.name for path, _ in between] == ["watch", "watch", "monitor"]


def test_what_users_added_in_the_version_before_must_still_be_there(
    settings: Settings, shop: Registry
) -> None:
    with version_before():
        monitored(settings, shop, equal(0))
    (file,) = (settings.path("watch") / "users").iterdir()
    file.unlink()
    with pytest.raises(HourglassError, match=f"{file.name}: gone"):
        monitored(settings, shop, equal(1), hour=HOUR + 1)


def test_of_an_hour_judged_by_both_versions_the_later_finding_counts(
    settings: Settings, shop: Registry
) -> None:
    with version_before():
        monitored(settings, shop, equal(0))
    later = monitored(settings, shop, equal(0), at="later", quality_passed=False)
    ((path, counts),) = monitor_results_between(settings.path("monitor"), HOUR, HOUR + 1)
    assert (path.parent.name, counts) == ("monitor", later)


def test_a_replacement_by_the_version_before_is_not_done_again(
    settings: Settings, shop: Registry
) -> None:
    ranks = {LIVE: skill(0.1), BEFORE: skill(0.5, 2), "recent-z": skill(0.4, 1)}
    with version_before():
        once = monitored(settings, shop, ranks)
    assert once.replaced_by == BEFORE
    live = live_ids(shop)
    assert monitored(settings, shop, ranks, at="later") == once
    assert live_ids(shop) == live
    # Its link still names the folder of that version.
    (record,) = settings.path("watch").glob("*.json")
    whole = record.read_bytes()
    record.unlink()
    with pytest.raises(HourglassError, match=f"watch/{record.name}: missing"):
        roll_back_by_hand(shop, shop.records, "bad")
    record.write_bytes(whole)
    assert roll_back_by_hand(shop, shop.records, "bad").champion.model_id == FLOOR


def test_a_chain_that_begins_takes_the_findings_of_both_versions(
    settings: Settings, shop: Registry
) -> None:
    ranks = {LIVE: skill(0.1), BEFORE: skill(0.1, 2), "recent-z": skill(0.4, 1)}
    with version_before():
        monitored(settings, shop, ranks)
    promote(shop, decided(shop, LIVE, hour="2016-03-14T16"))
    monitored(settings, shop, ranks, hour=HOUR + 3)
    records = [next(settings.path(name).glob("*.json")) for name in ("watch", "monitor")]
    # As in a lake from before there was a chain.
    shop.client.delete_registered_model_tag(shop.name, "record_chain")
    (shop.records / JOURNAL).unlink()
    with changing(shop.records, "beginning the chain"):
        chain = verified_chain(shop)
    assert {f"{path.parent.name}/{path.name}" for path in records} <= chain.digests.keys()


# What a finding must know


def test_a_model_that_learned_from_the_hour_is_not_judged_on_it(
    settings: Settings, registry: Registry
) -> None:
    register(registry, FLOOR, "recent-z")
    write_model(registry.models, LIVE, as_of=HOUR + 1)
    log_training(registry, training(LIVE))
    install_first(registry, FLOOR, registry.records)
    promote(registry, decided(registry, LIVE))
    ranks = {LIVE: skill(0.9), "recent-z": skill(0.4, 1)}
    found = monitored(settings, registry, ranks)
    assert told(found) == ("unjudged", "learned_from_the_hour")
    assert found.numbers is None
    assert told(monitored(settings, registry, ranks, hour=HOUR + 1)) == ("kept", "not_below_floor")


def test_a_previous_model_that_learned_from_the_hour_is_of_unknown_worth(
    settings: Settings, registry: Registry
) -> None:
    register(registry, FLOOR, LIVE, "recent-z")
    write_model(registry.models, BEFORE, as_of=HOUR + 1)
    log_training(registry, training(BEFORE))
    install_first(registry, FLOOR, registry.records)
    promote(registry, decided(registry, BEFORE))
    promote(registry, decided(registry, LIVE, hour="2016-03-14T14"))
    ranks = {LIVE: skill(0.1), BEFORE: skill(0.9, 2), "recent-z": skill(0.4, 1)}
    assert monitored(settings, registry, ranks).replaced_by == "recent-z"


def test_who_knows_less_of_an_hour_does_not_take_the_place_of_who_knew_more(
    settings: Settings, shop: Registry
) -> None:
    good = monitored(settings, shop, equal(0))
    assert good.reason == "not_below_floor"
    again = monitored(settings, shop, {"recent-z": skill(0.4)}, at="later")
    assert again == good
    assert monitored(settings, shop, equal(0), at="later", quality_passed=None) == good
    assert len(list(settings.path("monitor").glob("*.json"))) == 1
    # That the data turned out to be bad is more than was known.
    bad = monitored(settings, shop, equal(0), at="later", quality_passed=False)
    assert bad.reason == "bad_data"
    ((_, counts),) = monitor_results_between(settings.path("monitor"), HOUR, HOUR + 1)
    assert counts == bad


def test_who_knows_more_of_an_hour_takes_the_place_of_who_knew_less(
    settings: Settings, shop: Registry
) -> None:
    assert monitored(settings, shop, {"recent-z": skill(0.4)}).reason == "not_evaluated"
    good = monitored(settings, shop, equal(0), at=None)
    assert good.reason == "not_below_floor"
    ((_, counts),) = monitor_results_between(settings.path("monitor"), HOUR, HOUR + 1)
    assert counts == good
