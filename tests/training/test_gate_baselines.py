"""Several baselines: the best of them is the bar, and each must be beaten."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from judging import (
    GATE,
    START,
    at_hour,
    check_named,
    contestant,
    evidence,
    outcome_and_reasons,
    ranks_of,
    with_baselines,
)

from pipeline.errors import HourglassError, UsageError
from pipeline.sealed_json import Record, json_ready, write_record
from pipeline.settings.learning import GateSettings
from pipeline.settings.settings import load_settings
from training.deployment.decision_check import refuse_inconsistent
from training.gate.comparisons import bar_of, beats_floor
from training.gate.decision_file import (
    decision_content,
    read_decision,
    read_record,
    write_decision,
)
from training.gate.evidence import CheckResult, Contestant, Evidence, Outcome
from training.gate.gate import decide
from training.gate.past_looks import earlier_looks
from training.gate.user_sums import merge_user_sums, read_user_sums

WRITTEN_BEFORE = Path(__file__).parents[1] / "lakes" / "decisions_of_6ffbc0c"


def beats(case: Evidence) -> CheckResult:
    return check_named("beats_floor", case)


def exact(candidate: float, **baselines: float) -> Evidence:
    """A hundred users with three targets each; a model finds just that share of them, as rank 1."""
    user = np.repeat(np.arange(100), 3)

    def of(model_id: str, share: float) -> Contestant:
        rank = np.where(np.arange(user.size) % 100 < 100 * share, 1, 400)
        return contestant(model_id, ranks_of(model_id, rank, user))

    return replace(
        evidence(),
        candidate=of("hrnn-new", candidate),
        champion=None,
        baselines={name: of(f"{name}-now", share) for name, share in baselines.items()},
    )


# What is promoted


def test_better_than_one_baseline_but_not_than_the_other_is_held() -> None:
    """Whichever of the two it is: no baseline may be left out of the check."""
    assert outcome_and_reasons(evidence(0.6, 0.3, 0.1))[0] == "promote"
    with_a_better = with_baselines(evidence(0.6, 0.3, 0.1), stan=0.7)
    assert outcome_and_reasons(with_a_better) == ("hold", ("not_better_than_floor",))
    with_a_worse = with_baselines(evidence(0.6, 0.3, 0.7), stan=0.1)
    assert outcome_and_reasons(with_a_worse) == ("hold", ("not_better_than_floor",))


def test_better_than_each_of_three_is_promoted_by_the_ordinary_reasons() -> None:
    case = with_baselines(evidence(0.7, 0.3, 0.1), stan=0.2, vstan=0.25)
    decision = decide(case)
    assert decision.outcome is Outcome.PROMOTE
    assert decision.reasons == decide(evidence(0.7, 0.3, 0.1)).reasons
    ranks = case.candidate.ranks
    assert ranks is not None
    for name, one in case.baselines.items():
        as_good = replace(one, ranks=replace(ranks, model_id=one.model_id))
        unbeaten = replace(case, baselines={**case.baselines, name: as_good})
        assert outcome_and_reasons(unbeaten) == ("hold", ("not_better_than_floor",)), name


def test_a_lesser_baseline_that_is_not_yet_beaten_holds_though_the_bar_is() -> None:
    """The candidate finds all that the bar finds, and more; of b's finds it has few."""
    target = np.arange(400)

    def of(model_id: str, hit: np.ndarray) -> Contestant:
        return contestant(model_id, ranks_of(model_id, np.where(hit, 1, 400), target))

    case = replace(
        evidence(),
        candidate=of("hrnn-new", target < 240),
        champion=None,
        baselines={"a": of("a-now", target < 210), "b": of("b-now", target >= 200)},
        gate=GateSettings(hour_swing=0, day_swing=0),
    )
    assert bar_of(case) == "a"
    assert outcome_and_reasons(case) == ("hold", ("not_yet_better_than_floor",))
    assert beats(case).sentence.endswith("; the bar is a (a 0.5250, b 0.5000), a beaten")


def test_several_need_no_more_evidence_than_each_of_them_alone() -> None:
    """An intersection-union test: each at the full level, whatever their number."""
    case = with_baselines(evidence(0.5, 0.2, 0.33, n_users=90, seed=3), stan=0.35, fmc=0.3)
    alone = {
        name: beats_floor(replace(case, baselines={name: one}))
        for name, one in case.baselines.items()
    }
    together = beats_floor(case)
    for name, check in alone.items():
        in_all = dict(together.numbers["baselines"][name])
        assert in_all.pop("reason") == check.reason
        assert in_all == check.numbers
        assert check.numbers["alpha"] == pytest.approx(1 - GATE.confidence)
    all_alone = all(check.outcome is Outcome.PROMOTE for check in alone.values())
    assert (together.outcome is Outcome.PROMOTE) == all_alone


def test_a_candidate_that_is_itself_a_baseline_is_never_better_than_all() -> None:
    case = evidence(0.6, 0.3, 0.1)
    both = replace(case, baselines={**case.baselines, "hrnn": case.candidate})
    assert outcome_and_reasons(both) == ("hold", ("not_better_than_floor",))


# What is said


def test_the_sentence_names_the_bar_and_who_was_not_beaten() -> None:
    check = beats(with_baselines(evidence(0.6, 0.3, 0.1), stan=0.7))
    assert check.sentence.startswith("Not better than the baseline stan-now: mrr@20 0.")
    assert "; the bar is stan (stan 0." in check.sentence
    assert check.sentence.endswith("), recent_pop beaten")
    check = beats(with_baselines(evidence(0.6, 0.3, 0.1), stan=0.2))
    assert check.sentence.startswith("Better than the baseline stan-now: ")
    assert "it is the best of 2 (stan 0." in check.sentence
    check = beats(with_baselines(evidence(0.3, 0.2, 0.7), stan=0.75))
    assert "; not better than the baseline recent_pop-now: " in check.sentence
    assert check.sentence.endswith("none beaten")


def test_of_not_yet_and_not_better_the_worse_is_the_reason() -> None:
    # A hair better than one, which no look proves, and worse than the other; in either order.
    for case in (exact(0.43, a=0.4, b=0.6), exact(0.43, a=0.6, b=0.4)):
        check = beats(case)
        codes = {name: each["reason"] for name, each in check.numbers["baselines"].items()}
        assert sorted(codes.values()) == ["not_better_than_floor", "not_yet_better_than_floor"]
        assert check.reason == "not_better_than_floor"


def test_the_bar_is_the_one_with_the_best_figure_over_all_looks(tmp_path: Path) -> None:
    """One look alone would say the other: a was better in the first hour by more."""
    first = replace(at_hour(tmp_path, 0, exact(0.9, a=0.8, b=0.2)), name="hrnn")
    write_decision(decide(first), tmp_path, "t0")
    second = replace(at_hour(tmp_path, 1, exact(0.9, a=0.5, b=0.6)), name="hrnn")
    assert bar_of(replace(second, earlier=lambda _: ())) == "b"
    assert bar_of(second) == "a"
    check = beats(second)
    assert check.numbers["bar"] == "a"
    assert check.numbers["mean"] == check.numbers["baselines"]["a"]["mean"]


def test_two_as_good_as_each_other_leave_the_first_by_name_the_bar() -> None:
    assert bar_of(exact(0.9, b=0.4, a=0.4)) == "a"


def test_without_a_champion_the_bar_is_the_proof() -> None:
    case = with_baselines(evidence(0.7, None, 0.1), stan=0.3)
    decision = decide(case)
    assert decision.proof is not None
    of_stan = beats(case).numbers["baselines"]["stan"]
    assert decision.proof.statistic == of_stan["statistic"]
    assert decision.lower == of_stan["lower"]


# The order of the list


def test_the_order_of_the_list_changes_nothing(tmp_path: Path) -> None:
    paths = []
    for at, order in enumerate((1, -1)):
        case = with_baselines(evidence(0.6, 0.3, 0.1), stan=0.2, vstan=0.2)
        baselines = dict(list(case.baselines.items())[::order])
        ids = np.array([f"user-{number}" for number in range(150)], dtype=object)
        path = write_decision(
            decide(replace(case, baselines=baselines, user_ids=ids)), tmp_path / str(at)
        )
        paths.append(path)
    first, second = paths
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_looks_count_on_when_the_list_is_written_in_another_order(tmp_path: Path) -> None:
    for hour, order in enumerate((1, -1, 1)):
        case = with_baselines(evidence(0.5, 0.45, 0.0, n_users=80, seed=hour), stan=0.1)
        baselines = dict(list(case.baselines.items())[::order])
        case = at_hour(tmp_path, hour, replace(case, baselines=baselines))
        decision = decide(case)
        assert len(decision.looks) == hour + 1
        write_decision(decision, tmp_path, f"t{hour}")


@pytest.mark.parametrize("names", [("recent_pop",), ("stan",), ("recent_pop", "stan", "vstan")])
def test_another_list_begins_anew(tmp_path: Path, names: tuple[str, ...]) -> None:
    case = with_baselines(evidence(0.5, 0.45, 0.0, n_users=80), stan=0.1, vstan=0.1)

    def of(hour: int, *chosen: str) -> Evidence:
        baselines = {name: case.baselines[name] for name in chosen}
        return at_hour(tmp_path, hour, replace(case, baselines=baselines))

    write_decision(decide(of(0, "recent_pop", "stan")), tmp_path, "t0")
    assert len(decide(of(1, "recent_pop", "stan")).looks) == 2
    assert len(decide(of(1, *names)).looks) == 1


def test_a_baseline_of_the_list_that_is_made_otherwise_begins_anew(tmp_path: Path) -> None:
    case = with_baselines(evidence(0.5, 0.45, 0.0, n_users=80), stan=0.1)
    write_decision(decide(at_hour(tmp_path, 0, case)), tmp_path, "t0")
    again = at_hour(tmp_path, 1, case)
    assert len(decide(again).looks) == 2
    changed = {**again.baselines, "stan": replace(again.baselines["stan"], definition="other")}
    assert len(decide(replace(again, baselines=changed)).looks) == 1


# Whatever is broken in one of them blocks


@pytest.mark.parametrize("name", ["recent_pop", "stan"])
def test_each_baseline_must_be_in_order(name: str) -> None:
    case = with_baselines(evidence(), stan=0.1)
    one = case.baselines[name]

    def outcome(**changes: object) -> tuple[str, tuple[str, ...]]:
        changed = {**case.baselines, name: replace(one, **changes)}  # type: ignore[arg-type]
        return outcome_and_reasons(replace(case, baselines=changed))

    assert outcome()[0] == "promote"
    assert outcome(ranks=None) == ("block", ("missing_ranks",))
    assert outcome(as_of=START + 1) == ("hold", ("floor_trained_on_the_future",))
    assert outcome(card_sha256="e" * 64) == ("block", ("baseline_changed",))
    other = replace(one.ranks, position=one.ranks.position + 1)  # type: ignore[union-attr,type-var]
    assert outcome(ranks=other) == ("block", ("different_targets",))


def test_an_hour_without_targets_is_held_by_one_sentence() -> None:
    none = np.array([], dtype=int)

    def of(model_id: str) -> Contestant:
        return contestant(model_id, ranks_of(model_id, none, none))

    case = replace(
        evidence(),
        candidate=of("hrnn-new"),
        champion=None,
        baselines={"a": of("a-now"), "b": of("b-now")},
    )
    assert outcome_and_reasons(case) == ("hold", ("too_few_users", "no_targets"))
    assert beats(case).sentence == "There is no target to compare on"
    assert decide(case).lower == -math.inf


# Files


def named(case: Evidence, n_users: int) -> Evidence:
    ids = np.array([f"user-{number}" for number in range(n_users)], dtype=object)
    return replace(case, user_ids=ids)


def test_looks_at_several_are_read_back_as_they_were(tmp_path: Path) -> None:
    case = named(with_baselines(evidence(0.5, 0.45, 0.1, n_users=80), stan=0.2), 80)
    decision = decide(at_hour(tmp_path, 0, case))
    path = write_decision(decision, tmp_path, "t0")
    look = decision.looks[-1]
    (read,) = earlier_looks(tmp_path, START + 1, look.key)
    assert read.baselines == look.baselines
    assert set(read.baselines) == {"recent_pop", "stan"}
    content = read_record(path).content
    assert set(content["floors"]) == {"recent_pop", "stan"}
    assert "floor" not in content
    assert content["look"]["key"]["floor"] == "recent_pop, stan"
    users_file = content["look"]["users"]
    read_users = read_user_sums(tmp_path, users_file["file"], users_file["sha256"])
    assert look.user_sums is not None
    assert read_users.names == look.user_sums.names
    for name, label in (("recent_pop", "floor recent_pop"), ("stan", "floor stan")):
        sums = merge_user_sums([read_users, read_users]).sums(label)
        assert sums.d == pytest.approx(2 * look.baselines[name].d)
        assert sums.users == look.baselines[name].users


def test_a_decision_on_several_can_be_computed_again(tmp_path: Path) -> None:
    for hour in range(3):
        case = with_baselines(evidence(0.7, 0.3, 0.1, seed=hour), stan=0.2)
        path = write_decision(
            decide(at_hour(tmp_path, hour, named(case, 150))), tmp_path, f"t{hour}"
        )
    decision = read_decision(path)
    assert decision.outcome is Outcome.PROMOTE
    refuse_inconsistent(decision)


@pytest.mark.parametrize("left_out", ["recent_pop", "stan"])
def test_a_record_that_left_one_of_its_baselines_out_is_refused(
    tmp_path: Path, left_out: str
) -> None:
    case = with_baselines(evidence(0.7, 0.3, 0.1), stan=0.2)
    others = {name: each for name, each in case.baselines.items() if name != left_out}
    path = write_decision(decide(replace(case, baselines=others)), tmp_path)
    decision = read_decision(path)
    assert decision.outcome is Outcome.PROMOTE
    with pytest.raises(HourglassError, match="the comparisons with its baselines cannot be read"):
        refuse_inconsistent(decision)


@pytest.mark.parametrize("name", ["recent_pop", "stan"])
def test_sums_that_do_not_say_that_each_baseline_is_beaten_are_refused(
    tmp_path: Path, name: str
) -> None:
    path = write_decision(decide(with_baselines(evidence(0.7, 0.3, 0.1), stan=0.2)), tmp_path)
    content = json.loads(path.read_text())
    sums = content["look"]["floors"][name]
    content["look"]["floors"][name] = sums | {"d": -sums["d"]}
    forged = write_record(tmp_path, "2016-03-14T13-hrnn-new", content)
    with pytest.raises(HourglassError, match=r"beats_floor says .*, but its sums say not"):
        refuse_inconsistent(read_decision(forged))


def test_looks_at_other_baselines_cannot_be_lent_to_a_decision(tmp_path: Path) -> None:
    alone = write_decision(decide(at_hour(tmp_path, 0, evidence(0.7, 0.3, 0.1))), tmp_path, "t0")
    both = with_baselines(evidence(0.7, 0.3, 0.1, seed=1), stan=0.2)
    path = write_decision(decide(at_hour(tmp_path, 1, both)), tmp_path, "t1")
    content = json.loads(path.read_text())
    record: Record = read_record(alone)
    content["earlier_looks"] = [{"first": str(START), "file": alone.name, "sha256": record.sha256}]
    forged = write_record(tmp_path, "2016-03-14T14-hrnn-new", content)
    with pytest.raises(HourglassError, match="whom its looks were compared with cannot be read"):
        refuse_inconsistent(read_decision(forged))


def test_decisions_from_before_there_were_lists_are_read_counted_and_written(
    tmp_path: Path,
) -> None:
    """``decisions_of_6ffbc0c`` was written by that commit's own code, of the cases made here."""
    folder = shutil.copytree(WRITTEN_BEFORE, tmp_path / "decisions")
    for path in sorted(folder.glob("*.json")):
        refuse_inconsistent(read_decision(path))
    case = named(at_hour(folder, 2, evidence(0.6, None, 0.1, n_users=100, seed=2)), 100)
    decision = decide(case)
    assert decision.outcome is Outcome.PROMOTE
    assert [look.hours.first for look in decision.looks] == [START, START + 1, START + 2]
    assert decision.looks[0].baselines.keys() == {"recent_pop"}
    refuse_inconsistent(read_decision(write_decision(decision, folder, "t2")))
    # The very files come out again.
    for hour, path in enumerate(sorted(WRITTEN_BEFORE.glob("*.json"))):
        again = named(at_hour(folder, hour, evidence(0.6, None, 0.1, n_users=100, seed=hour)), 100)
        half = np.arange(again.candidate.ranks.n_targets) % 2 == 0  # type: ignore[union-attr]
        content = decision_content(
            decide(replace(again, slices={"user/new": half})),
            f"t{hour}",
            tuple(json.loads(path.read_text())["look"]["users"].values()),  # type: ignore[arg-type]
        )
        assert json_of(content) == json_of(json.loads(path.read_text()))


def json_of(content: object) -> object:
    """Numbers to nine digits: the last ones are the machine's own."""
    text = json.dumps(json_ready(content), sort_keys=True)
    return json.loads(text, parse_float=lambda digits: round(float(digits), 9))


def test_a_decision_on_one_baseline_is_written_as_ever(tmp_path: Path) -> None:
    """By its name alone or as a list of one; the keys are those of every version before."""
    plain, listed = GateSettings(baseline="recent_pop"), GateSettings(baseline=["recent_pop"])
    assert plain == listed
    assert listed.model_dump(mode="json")["baseline"] == "recent_pop"
    case = named(evidence(), 150)
    path = write_decision(decide(replace(case, gate=listed)), tmp_path)
    assert path == write_decision(decide(replace(case, gate=plain)), tmp_path)
    content = read_record(path).content
    assert content["floor"]["model_id"] == "recent_pop-now"
    assert content["look"]["key"]["floor"] == "recent_pop"
    assert set(content["look"]) == {"first", "stop", "key", "users", "floor", "champion"}
    assert "floors" not in content
    (check,) = [check for check in content["checks"] if check["name"] == "beats_floor"]
    assert not {"bar", "baselines"} & set(check["numbers"])
    look = decide(case).looks[-1]
    assert content["look"]["floor"] == asdict(look.baselines["recent_pop"])
    users_file = content["look"]["users"]
    columns = read_user_sums(tmp_path, users_file["file"], users_file["sha256"]).names
    assert columns == ("n", "champion_d", "champion_c", "floor_d", "floor_c")


# The setting


def settings_with(baseline: object) -> GateSettings:
    return load_settings(None, {"gate": {"baseline": baseline}}).gate


def test_the_setting_is_a_name_or_a_list_of_names() -> None:
    assert settings_with("stan").baselines == ("stan",)
    assert settings_with(["recent_pop", "stan"]).baselines == ("recent_pop", "stan")
    dumped = settings_with(["recent_pop", "stan"]).model_dump(mode="json")["baseline"]
    assert dumped == ["recent_pop", "stan"]


@pytest.mark.parametrize(
    "baseline", [[], ["stan", "stan"], ["stan", ""], ""], ids=["none", "twice", "no name", "empty"]
)
def test_a_list_names_at_least_one_model_each_once(baseline: object) -> None:
    with pytest.raises(
        UsageError, match=r"gate\.baseline = .*: name at least one model, each once"
    ):
        settings_with(baseline)
