"""Going back, one model at a time, and what may be promoted after it."""

from __future__ import annotations

from pathlib import Path

import pytest
from lives import Prepared, decided, dying, live_ids, register, registry

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from training.deployment.champion_history import ChampionPeriod, champion_during, champion_periods
from training.deployment.promote import install_first, promote, roll_back_by_hand
from training.deployment.rollback import roll_back
from training.registry.champion_record import read_event
from training.registry.mlflow_registry import Registry, champion, rollback_targets
from training.registry.model_card import CARD_NAME

__all__ = ["registry"]


def with_promotions(registry: Registry) -> None:
    """recent-a was live, then hrnn-b from 14 o'clock on, then hrnn-c from 15 o'clock on."""
    register(registry, "recent-a", "hrnn-b", "hrnn-c")
    install_first(registry, "recent-a", registry.records, at="2016-03-14T13:00:00")
    promote(registry, decided(registry, "hrnn-b"), at="2016-03-14T14:02:00")
    promote(registry, decided(registry, "hrnn-c", hour="2016-03-14T14"), at="2016-03-14T15:02:00")


@pytest.fixture(scope="module")
def prepared_promoted(mlflow_tables: None, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(tmp_path_factory.mktemp("promoted"), with_promotions)


@pytest.fixture
def promoted(prepared_promoted: Prepared, tmp_path: Path) -> Registry:
    """A registry `with_promotions`."""
    return prepared_promoted.at(tmp_path)


def test_rollback_returns_to_the_previous_model_and_records_it(promoted: Registry) -> None:
    done = roll_back_by_hand(promoted, promoted.records, "looks odd", at="2016-03-14T15:30:00")
    assert (done.left.model_id, done.champion.model_id) == ("hrnn-c", "hrnn-b")
    assert live_ids(promoted) == ("hrnn-b", "recent-a")
    event = read_event(done.record)
    assert (event.kind, event.reason, event.sentence) == (
        *("rollback", "rolled_back_by_hand"),
        "looks odd",
    )
    assert event.before is not None
    assert event.before.model_id == "hrnn-c"
    assert (event.at, event.as_of) == ("2016-03-14T15:30:00", None)


def test_rollbacks_go_further_and_further_back(promoted: Registry) -> None:
    roll_back_by_hand(promoted, promoted.records, "bad")
    roll_back_by_hand(promoted, promoted.records, "bad")
    assert live_ids(promoted) == ("recent-a", None)
    with pytest.raises(HourglassError, match=r"recent-a \(version 1\) has no previous model"):
        roll_back_by_hand(promoted, promoted.records, "bad")


def test_nobody_goes_back_to_a_model_that_was_taken_back(promoted: Registry) -> None:
    roll_back_by_hand(promoted, promoted.records, "bad")
    promote(promoted, decided(promoted, "hrnn-c", hour="2016-03-14T15"))
    assert live_ids(promoted) == ("hrnn-c", "hrnn-b")
    roll_back_by_hand(promoted, promoted.records, "bad again")
    assert live_ids(promoted) == ("hrnn-b", "recent-a")


def test_a_model_promoted_again_is_not_its_own_previous(promoted: Registry) -> None:
    promote(promoted, decided(promoted, "recent-a", hour="2016-03-14T15"))
    assert [one.model_id for one in rollback_targets(promoted, champion(promoted))] == [
        *("hrnn-c", "hrnn-b"),
    ]


def test_without_a_champion_there_is_nothing_to_roll_back(registry: Registry) -> None:
    with pytest.raises(HourglassError, match="nothing is live"):
        roll_back_by_hand(registry, registry.records, "bad")


def test_an_undone_decision_promotes_no_more_but_a_later_one_does(promoted: Registry) -> None:
    roll_back_by_hand(promoted, promoted.records, "bad")
    (undone,) = promoted.records.glob("2016-03-14T14-hrnn-c-*.json")
    with pytest.raises(HourglassError, match=r"compared hrnn-c with hrnn-b|and rolled back"):
        promote(promoted, undone)
    again = decided(promoted, "hrnn-c", hour="2016-03-14T14", made_at="2016-03-14T15:40:00")
    with pytest.raises(HourglassError, match="and rolled back or replaced since"):
        promote(promoted, again)
    later = decided(promoted, "hrnn-c", hour="2016-03-14T15")
    assert promote(promoted, later).changed
    assert live_ids(promoted) == ("hrnn-c", "hrnn-b")


def test_a_second_rollback_of_a_model_does_not_forget_the_first(promoted: Registry) -> None:
    roll_back_by_hand(promoted, promoted.records, "bad")
    promote(promoted, decided(promoted, "hrnn-c", hour="2016-03-14T15"))
    roll_back_by_hand(promoted, promoted.records, "bad again")
    first = decided(promoted, "hrnn-c", hour="2016-03-14T14", made_at="2016-03-14T19:00:00")
    with pytest.raises(HourglassError, match="and rolled back"):
        promote(promoted, first)


def test_a_rollback_cut_short_leaves_a_champion_and_is_completed(promoted: Registry) -> None:
    for method in ("set_model_version_tag", "set_registered_model_alias"):
        with pytest.raises(KeyboardInterrupt):
            roll_back_by_hand(dying(promoted, method), promoted.records, "bad")
        assert live_ids(promoted) == ("hrnn-c", "hrnn-b")
    roll_back_by_hand(promoted, promoted.records, "bad")
    assert live_ids(promoted) == ("hrnn-b", "recent-a")


def test_a_promotion_cut_short_confuses_no_later_rollback(promoted: Registry) -> None:
    """hrnn-b nearly went live again, so its tag names a record that never took effect."""
    decision = decided(promoted, "hrnn-b", hour="2016-03-14T15")
    with pytest.raises(KeyboardInterrupt):
        promote(dying(promoted, "set_registered_model_alias"), decision)
    roll_back_by_hand(promoted, promoted.records, "bad")
    assert live_ids(promoted) == ("hrnn-b", "recent-a")


def test_there_is_no_going_back_to_an_artefact_that_is_gone(promoted: Registry) -> None:
    (promoted.models / "hrnn-b" / CARD_NAME).unlink()
    with pytest.raises(HourglassError, match=r"the card of hrnn-b .* is missing"):
        roll_back_by_hand(promoted, promoted.records, "bad")
    assert live_ids(promoted) == ("hrnn-c", "hrnn-b")


def test_what_is_taken_back_must_still_be_live(promoted: Registry) -> None:
    left = champion(promoted)
    assert left is not None
    stack = rollback_targets(promoted, left)
    roll_back_by_hand(promoted, promoted.records, "bad")
    with pytest.raises(HourglassError, match="hrnn-c is not live any more: hrnn-b is, and stays"):
        roll_back(promoted, promoted.records, left, stack, "below_floor", "poor")


# Who was live when


def test_tenures_tell_the_whole_story(promoted: Registry) -> None:
    roll_back_by_hand(promoted, promoted.records, "odd", at="2016-03-14T15:30:00")
    told = [
        (one.model_id, one.reason, one.since_at, str(one.since_hour), one.until_at)
        for one in champion_periods(promoted, promoted.records)
    ]
    assert told == [
        ("recent-a", "bootstrap", "2016-03-14T13:00:00", "None", "2016-03-14T14:02:00"),
        ("hrnn-b", "promoted", "2016-03-14T14:02:00", "2016-03-14T14", "2016-03-14T15:02:00"),
        ("hrnn-c", "promoted", "2016-03-14T15:02:00", "2016-03-14T15", "2016-03-14T15:30:00"),
        ("hrnn-b", "rolled_back_by_hand", "2016-03-14T15:30:00", "None", None),
    ]
    last = champion_periods(promoted, promoted.records)[-1]
    assert last.record is not None
    assert last.record.name == champion(promoted).champion_record  # type: ignore[union-attr]


def test_a_changed_record_ends_the_story_there(promoted: Registry) -> None:
    (record,) = promoted.records.glob("promotion-hrnn-b-*.json")
    record.chmod(0o644)
    record.write_text(record.read_text().replace("promoted", "bootstrap"))
    found = champion_periods(promoted, promoted.records)
    assert [(one.model_id, one.reason) for one in found] == [
        ("hrnn-b", "unknown"),
        ("hrnn-c", "promoted"),
    ]


def tenure(model_id: str, since: str | None) -> ChampionPeriod:
    hour = Hour.parse(since) if since else None
    place = Path("record.json")
    return ChampionPeriod(model_id, "1", "line", None, hour, None, None, "promoted", "", place)


def test_each_hour_had_its_model() -> None:
    story = [
        tenure("first", None),
        tenure("second", "2016-03-14T10"),
        tenure("third", "2016-03-14T12"),
        tenure("by-hand", None),
        tenure("last", "2016-03-14T15"),
    ]
    expected = {
        "2016-03-14T09": "first",
        "2016-03-14T10": "second",
        "2016-03-14T11": "second",
        # People went back from the third: what they chose counts from its beginning.
        "2016-03-14T12": "by-hand",
        "2016-03-14T14": "by-hand",
        "2016-03-14T15": "last",
        "2016-03-15T00": "last",
    }
    found = {hour: champion_during(story, Hour.parse(hour)) for hour in expected}
    assert {hour: one and one.model_id for hour, one in found.items()} == expected
    assert champion_during([tenure("first", "2016-03-14T10")], Hour.parse("2016-03-14T09")) is None
