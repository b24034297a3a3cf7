from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from judging import (
    GATE,
    RULE,
    START,
    at_hour,
    contestant,
    evidence,
    ranks_of,
    skilled,
    users,
    with_ranks,
)

from pipeline.settings.learning import EvaluationSettings, GateSettings
from training.gate.artefact_checks import ArtefactProblem, ArtefactReport
from training.gate.comparisons import beats_champion
from training.gate.decision_file import write_decision
from training.gate.evidence import CheckResult, Contestant, Evidence, Outcome
from training.gate.gate import COMPARISONS, Decision, choose, decide
from training.gate.past_looks import LookKey, definition, earlier_looks
from training.gate.sequential_test import Sums, log_evidence, scale_of
from training.gate.slice_harm import slice_figures
from training.metrics.metrics import target_values

CLEAR = evidence()
FLOOR = CLEAR.contestants["floor"]


def outcome_and_reasons(case: Evidence) -> tuple[str, tuple[str, ...]]:
    decision = decide(case)
    return decision.outcome.value, decision.reasons


def test_a_clearly_better_candidate_is_promoted() -> None:
    decision = decide(CLEAR)
    assert decision.outcome is Outcome.PROMOTE
    assert decision.reasons == (
        "enough_data",
        "better_than_floor",
        "better_than_champion",
        "no_slice_harmed",
    )
    assert "Better than the champion hrnn-old: mrr@20 0." in decision.sentence
    assert 0 < decision.lower < decision.proof.mean


def test_without_a_champion_the_floor_decides() -> None:
    assert outcome_and_reasons(evidence(0.6, None, 0.1))[0] == "promote"
    assert outcome_and_reasons(evidence(0.1, None, 0.6)) == ("hold", ("not_better_than_floor",))


def test_a_candidate_no_better_than_the_champion_is_held() -> None:
    assert outcome_and_reasons(evidence(0.5, 0.5, 0.1)) == ("hold", ("not_better_than_champion",))


def test_a_candidate_better_than_the_champion_but_not_than_the_floor_is_held() -> None:
    assert outcome_and_reasons(evidence(0.5, 0.2, 0.5)) == ("hold", ("not_better_than_floor",))


def test_a_candidate_surely_far_worse_than_the_champion_is_blocked() -> None:
    assert outcome_and_reasons(evidence(0.2, 0.6, 0.05)) == ("block", ("worse_than_champion",))


def test_the_sentence_of_a_block_has_limits_that_show_it() -> None:
    decision = decide(evidence(0.2, 0.6, 0.05))
    (check,) = [check for check in decision.checks if check.reason == "worse_than_champion"]
    limits = re.search(r"difference (\S+), between (\S+) and (\S+)$", check.sentence)
    assert limits is not None
    mean, lower, upper = map(float, limits.groups())
    assert lower < mean < upper < 0


def test_worse_by_less_than_the_tolerated_drop_is_only_held() -> None:
    tolerant = replace(evidence(0.45, 0.6, 0.05), gate=GateSettings(max_block_drop=0.5))
    assert outcome_and_reasons(tolerant) == ("hold", ("not_better_than_champion",))
    strict = replace(tolerant, gate=GateSettings(max_block_drop=0.0))
    assert outcome_and_reasons(strict) == ("block", ("worse_than_champion",))


def test_the_champion_itself_is_held() -> None:
    same = replace(CLEAR, champion=CLEAR.candidate)
    assert outcome_and_reasons(same) == ("hold", ("same_model",))


def test_too_few_users_or_targets_are_held_however_good_the_candidate() -> None:
    few_users = replace(CLEAR, gate=GateSettings(min_users=151))
    assert outcome_and_reasons(few_users) == ("hold", ("too_few_users",))
    few_targets = evidence(0.9, 0.1, 0.1)
    few_targets = replace(few_targets, gate=GateSettings(min_targets=100_000, hour_swing=0))
    assert "too_few_targets" in decide(few_targets).reasons


def test_users_and_targets_that_are_both_too_few_are_named_together() -> None:
    few = replace(CLEAR, gate=GateSettings(min_users=151, min_targets=100_000))
    (check,) = [each for each in decide(few).checks if each.name == "sample_size"]
    assert check.reason == "too_few_users"
    assert check.sentence.startswith("Too few users and targets yet: ")
    assert "of at least 151" in check.sentence
    assert "of at least 100000" in check.sentence


def test_one_user_is_too_few_even_where_one_is_allowed() -> None:
    user = np.zeros(300, dtype=int)
    case = replace(
        CLEAR,
        gate=GateSettings(min_users=1),
        candidate=contestant("hrnn-new", ranks_of("hrnn-new", np.full(300, 1), user)),
        champion=None,
        baselines={
            "recent_pop": contestant(
                "recent_pop-now", ranks_of("recent_pop-now", np.full(300, 9), user)
            )
        },
    )
    assert outcome_and_reasons(case) == ("hold", ("too_few_users", "not_better_than_floor"))


def test_an_hour_without_targets_is_held() -> None:
    none = np.array([], dtype=int)
    case = replace(
        CLEAR,
        **{
            field: value
            for role, one in CLEAR.contestants.items()
            for field, value in as_role(
                role, contestant(one.model_id, ranks_of(one.model_id, none, none))
            ).items()
        },
    )
    assert outcome_and_reasons(case) == ("hold", ("too_few_users", "no_targets", "no_targets"))
    assert decide(case).lower == -math.inf


# Poison: whatever is broken blocks, and nothing is compared


def as_role(role: str, one: Contestant) -> dict[str, object]:
    """The field of the evidence that holds a contestant; records call the baseline a floor."""
    return {"baselines": {"recent_pop": one}} if role == "floor" else {role: one}


def blocked(reason: str, **changes: object) -> None:
    decision = decide(replace(CLEAR, **changes))  # type: ignore[arg-type]
    assert (decision.outcome.value, decision.reasons) == ("block", (reason,))
    compared = {check.name for check in decision.checks}
    assert not compared & {check.__name__ for check in COMPARISONS}
    assert decision.looks == ()


@pytest.mark.parametrize(
    "code", ["not_loadable", "vocabulary_mismatch", "scores_not_finite", "not_personal"]
)
def test_a_defective_artefact_is_blocked_by_its_defect(code: str) -> None:
    found = ArtefactReport("hrnn-new", (ArtefactProblem(code, "broken"),), None, 64)
    blocked(code, artefact_report=found)


def test_an_artefact_that_nobody_examined_is_blocked() -> None:
    blocked("soundness_unknown", artefact_report=None)
    blocked("soundness_unknown", artefact_report=ArtefactReport("hrnn-other", (), "c" * 64, 64))


def test_a_candidate_trained_past_the_first_test_hour_is_blocked() -> None:
    blocked("trained_on_the_future", candidate=replace(CLEAR.candidate, as_of=START + 1))


def test_a_candidate_of_another_data_set_or_time_is_stale() -> None:
    older = replace(CLEAR.candidate, dataset_id="yesterday", as_of=START - 24)
    blocked("stale_artefact", candidate=older, base_dataset_id="base")
    lying = replace(CLEAR.candidate, as_of=START - 24)
    blocked("card_contradicts_data", candidate=lying, base_dataset_id="base")
    assert decide(replace(CLEAR, base_dataset_id="base")).outcome is Outcome.PROMOTE


def test_a_champion_or_floor_that_saw_the_test_hour_cannot_be_judged() -> None:
    late = replace(CLEAR, champion=replace(CLEAR.champion, as_of=START + 1))
    assert outcome_and_reasons(late) == ("hold", ("champion_trained_on_the_future",))
    assert decide(late).looks == ()
    late = replace(CLEAR, **as_role("floor", replace(FLOOR, as_of=START + 1)))
    assert outcome_and_reasons(late) == ("hold", ("floor_trained_on_the_future",))


def test_data_that_failed_or_skipped_validation_blocks() -> None:
    blocked("data_quality_failed", quality_passed=False)
    blocked("data_quality_unknown", quality_passed=None)


def test_hours_that_were_not_validated_are_named_as_the_command_wants_them() -> None:
    three_hours = RULE.model_copy(update={"horizon": "3h"})
    sentence = decide(replace(CLEAR, quality_passed=None, rule=three_hours)).sentence
    assert f"run hourglass validate --from {START} --to {START + 3}" in sentence


@pytest.mark.parametrize("role", ["candidate", "champion", "floor"])
def test_missing_ranks_of_anyone_block(role: str) -> None:
    blocked("missing_ranks", **as_role(role, replace(CLEAR.contestants[role], ranks=None)))
    blocked("missing_ranks", **as_role(role, replace(CLEAR.contestants[role], ranks_sha256=None)))


@pytest.mark.parametrize("role", ["candidate", "champion", "floor"])
def test_other_targets_of_anyone_block(role: str) -> None:
    one = CLEAR.contestants[role]
    shifted = one.ranks.position + 1
    blocked("different_targets", **as_role(role, with_ranks(one, position=shifted)))
    blocked("different_targets", **as_role(role, with_ranks(one, frozen_id="yesterday")))
    blocked("different_targets", **as_role(role, with_ranks(one, rule="repeats=keep targets=all")))
    blocked("ranks_of_another_model", **as_role(role, with_ranks(one, model_id="hrnn-else")))
    blocked("bad_ranks", **as_role(role, with_ranks(one, rank=one.ranks.rank * 0)))


def test_another_rule_than_the_ranks_were_made_by_blocks() -> None:
    blocked("different_targets", rule=EvaluationSettings(repeats="keep"))


@pytest.mark.parametrize(
    ("role", "reason"),
    [
        ("candidate", "artefact_changed"),
        ("champion", "baseline_changed"),
        ("floor", "baseline_changed"),
    ],
)
def test_whoever_changed_after_being_ranked_blocks(role: str, reason: str) -> None:
    one = CLEAR.contestants[role]
    blocked(reason, **as_role(role, replace(one, card_sha256="e" * 64)))
    blocked(reason, **as_role(role, with_ranks(one, card_sha256="e" * 64)))
    same = with_ranks(replace(one, card_sha256="e" * 64), card_sha256="e" * 64)
    assert decide(replace(CLEAR, **as_role(role, same))).outcome is Outcome.PROMOTE


def test_a_champion_that_went_live_after_the_evaluation_without_ranks_blocks() -> None:
    unranked = replace(CLEAR.champion, version="7", ranks=None)
    blocked("baseline_changed", champion=unranked, ranked_champion="6")
    blocked("baseline_changed", champion=unranked, ranked_champion=None)
    blocked("missing_ranks", champion=unranked, ranked_champion="7")


def test_a_champion_that_came_back_meanwhile_but_was_ranked_is_compared() -> None:
    """As where the monitor goes back to the previous model between evaluation and gate."""
    back = replace(CLEAR, champion=replace(CLEAR.champion, version="7"), ranked_champion="8")
    assert decide(back).outcome is Outcome.PROMOTE


@pytest.mark.parametrize(
    "name",
    [
        "metric",
        "confidence",
        "min_users",
        "min_targets",
        "max_block_drop",
        "hour_swing",
        "day_swing",
        "slice_margin",
        "min_slice_users",
    ],
)
def test_a_missing_threshold_blocks(name: str) -> None:
    blocked("missing_threshold", gate=GATE.model_copy(update={name: None}))
    blocked("missing_threshold", gate=GATE.model_copy(update={name: float("nan")}))


def test_an_unforeseen_error_blocks() -> None:
    def crash(_: Evidence) -> CheckResult:
        raise ZeroDivisionError("boom")

    decision = decide(CLEAR, comparisons=(*COMPARISONS, crash))
    assert decision.outcome is Outcome.BLOCK
    assert decision.reasons == ("check_failed",)
    assert decision.sentence == "the check crash failed: ZeroDivisionError: boom."


def test_evidence_that_is_no_evidence_blocks() -> None:
    assert decide(None).outcome is Outcome.BLOCK  # type: ignore[arg-type]


def test_no_comparison_at_all_blocks() -> None:
    assert decide(CLEAR, comparisons=()).reasons == ("no_checks",)


def test_a_further_check_can_only_make_the_outcome_worse() -> None:
    def worried(_: Evidence) -> CheckResult:
        return CheckResult("slices", Outcome.HOLD, "slice_worse", "New users lose.", {"n": 3})

    decision = decide(CLEAR, comparisons=(*COMPARISONS, worried))
    assert (decision.outcome.value, decision.reasons) == ("hold", ("slice_worse",))
    worse = decide(evidence(0.2, 0.6, 0.05), comparisons=(*COMPARISONS, worried))
    assert worse.outcome is Outcome.BLOCK


# Slices


def sliced(loses: float, n_users: int = 400, margin: float = 0.2) -> Evidence:
    """A candidate far better in all, that finds ``loses`` fewer of the targets of one slice."""
    rng = np.random.default_rng(4)
    user = users(n_users, rng)
    new = user % 2 == 0
    champion = skilled(user, 0.5, rng)
    candidate = np.where(rng.random(user.size) < 0.6, 1, champion)
    lost = rng.random(user.size) < loses
    candidate = np.where(new, np.where(lost, 400, champion), candidate)

    def of(model_id: str, rank: np.ndarray) -> object:
        return contestant(model_id, ranks_of(model_id, rank, user))

    return replace(
        CLEAR,
        candidate=of("hrnn-new", candidate),
        champion=of("hrnn-old", champion),
        baselines={"recent_pop": of("recent_pop-now", np.full(user.size, 400))},
        slices={"user/new": new, "user/known": ~new, "user/none": new & ~new},
        gate=GateSettings(slice_margin=margin),
    )


def test_a_gain_for_most_hides_no_loss_for_some() -> None:
    decision = decide(sliced(0.6))
    assert (decision.outcome.value, decision.reasons) == ("hold", ("slice_harmed",))
    assert "user/new" in decision.sentence
    assert outcome_and_reasons(sliced(0.2)) == ("hold", ("slice_not_shown_harmless",))
    assert outcome_and_reasons(sliced(0.0))[0] == "promote"
    assert outcome_and_reasons(sliced(0.6, margin=0.9))[0] == "promote"


def test_a_small_slice_is_told_and_not_judged() -> None:
    decision = decide(sliced(0.6, n_users=190))
    assert decision.outcome is Outcome.PROMOTE
    found = decision.checks[-1].numbers["slices"]
    assert {name: one["verdict"] for name, one in found.items()} == {
        "user/new": "too_small",
        "user/known": "too_small",
    }


def test_slice_figures_are_those_of_the_slice() -> None:
    case = sliced(0.3)
    new = case.slices["user/new"]
    mine, theirs = case.values(case.candidate)[new], case.values(case.champion)[new]
    found = slice_figures(case)["user/new"]
    assert found["candidate"] == pytest.approx(mine.mean())
    assert found["champion"] == pytest.approx(theirs.mean())
    assert found["difference"]["mean"] == pytest.approx((mine - theirs).mean())
    assert found["excess_over_tolerated"]["mean"] == pytest.approx((mine - 0.8 * theirs).mean())
    assert (found["users"], found["targets"]) == (200, new.sum())


def test_a_slice_is_shown_harmless_by_a_test_that_may_be_looked_at_every_hour() -> None:
    """What a fixed sample just shows is not shown yet to whoever asks every hour."""
    verdicts = []
    for lost in range(0, 20):
        case = sliced(lost / 100)
        new = case.slices["user/new"]
        mine, theirs = case.values(case.candidate)[new], case.values(case.champion)[new]
        excess = np.bincount(case.candidate.ranks.user[new], mine - 0.8 * theirs)
        square = float(excess @ excess)
        wanted = log_evidence(excess.sum(), square, scale_of(Sums(n=new.sum(), dd=square), 200))
        found = slice_figures(case)["user/new"]
        assert found["statistic"] == pytest.approx(wanted)
        fixed = found["excess_over_tolerated"]["lower"] > 0
        shown = found["verdict"] == "harmless"
        assert shown == (wanted >= math.log(20))
        verdicts.append((fixed, shown))
    assert {(True, True), (True, False), (False, False)} == set(verdicts)


def test_a_slice_counts_people(tmp_path: Path) -> None:
    """Four looks at the same 150 users are 150 users, and their spread is that of people."""

    def with_slice(hour: int, seed: int) -> Evidence:
        case = at_hour(tmp_path, hour, evidence(0.5, 0.45, 0.0, n_users=150, seed=seed))
        ids = np.array([f"user-{number}" for number in range(150)], dtype=object)
        mask = np.ones(case.candidate.ranks.n_targets, dtype=bool)
        return replace(case, user_ids=ids, slices={"device=all": mask})

    # The same seed each hour: what each user adds is the same again, four times in all.
    for hour in range(3):
        write_decision(decide(with_slice(hour, 0)), tmp_path, f"t{hour}")
    last = with_slice(3, 0)
    found, once = (
        slice_figures(last)["device=all"],
        slice_figures(replace(last, earlier=lambda _: ())),
    )
    assert (found["users"], once["device=all"]["users"]) == (150, 150)
    strangers = slice_figures(replace(last, user_ids=None))["device=all"]
    assert found["statistic"] < strangers["statistic"]


def test_a_slice_in_which_nobody_finds_anything_is_harmless() -> None:
    case = sliced(0.0)
    new = case.slices["user/new"]

    def lost(one: object) -> object:
        return with_ranks(one, rank=np.where(new, 400, one.ranks.rank))

    both_lose = replace(case, candidate=lost(case.candidate), champion=lost(case.champion))
    found = slice_figures(both_lose)["user/new"]
    assert found["verdict"] == "harmless"
    # Of next to nothing, a share of what is found in all may be lost.
    assert found["tolerated_loss"] == pytest.approx(
        0.2 * 0.1 * both_lose.values(both_lose.champion).mean()
    )


def test_a_gain_no_larger_than_the_luck_of_a_day_is_not_proven_in_one() -> None:
    tossed = decide(replace(CLEAR, gate=GateSettings(day_swing=1.0)))
    assert (tossed.outcome.value, tossed.proof.proven) == ("hold", False)
    assert "not_yet_better_than_champion" in tossed.reasons
    theirs = CLEAR.look.champion["all"].c
    assert tossed.proof.uncertainty == pytest.approx(theirs**2)


# Looks add up


def hourly(folder: Path, hour: int, gain: float = 0.03, **changes: object) -> tuple[Decision, Path]:
    """One hour's decision on a line that is a little better, written into the folder."""
    case = at_hour(folder, hour, evidence(0.45 + gain, 0.45, 0.0, n_users=80, seed=hour))
    decision = decide(replace(case, **changes))
    return decision, write_decision(decision, folder, f"2016-03-20T00:00:{hour:02d}")


def test_a_small_gain_is_proven_by_many_looks_and_by_no_single_one(tmp_path: Path) -> None:
    outcomes = [hourly(tmp_path, hour, 0.06)[0] for hour in range(40)]
    promoted = [one for one in outcomes if one.outcome is Outcome.PROMOTE]
    assert outcomes[0].outcome is Outcome.HOLD
    assert promoted
    assert len(promoted[0].looks) > 3
    assert [len(one.looks) for one in outcomes] == list(range(1, 41))


def test_the_looks_that_count_are_those_of_hours_before(tmp_path: Path) -> None:
    for hour in (5, 1, 3):
        hourly(tmp_path, hour)
    replayed, _ = hourly(tmp_path, 4)
    assert [look.hours.first for look in replayed.looks] == [START + h for h in (1, 3, 4)]


def renamed(case: Evidence, model_id: str) -> Evidence:
    """The same case with another fit as the candidate."""
    one = with_ranks(case.candidate, model_id=model_id)
    found = replace(case.artefact_report, model_id=model_id)
    return replace(case, candidate=replace(one, model_id=model_id), artefact_report=found)


def test_an_hour_judged_twice_counts_once_by_its_first_decision(tmp_path: Path) -> None:
    """Nobody gains by fitting with another seed until the hour likes it."""
    _, first = hourly(tmp_path, 1)
    lucky = renamed(at_hour(tmp_path, 1, evidence(0.9, 0.1, 0.0, seed=9)), "hrnn-lucky")
    decision = decide(lucky)
    assert (decision.outcome.value, decision.reasons) == (
        "hold",
        ("hour_was_judged_with_another_fit",),
    )
    assert (decision.looks, decision.proof) == ((), None)
    write_decision(decision, tmp_path, "2016-03-20T00:00:59")
    again, _ = hourly(tmp_path, 1)  # the same fit may be judged again, as after a failed run
    assert len(again.looks) == 1
    decision, _ = hourly(tmp_path, 2)
    assert [look.file for look in decision.looks[:-1]] == [first.name]


def test_of_two_looks_of_an_hour_the_one_made_first_counts(tmp_path: Path) -> None:
    """Also where a second one was written, as older versions did."""
    _, first = hourly(tmp_path, 1)
    later = at_hour(tmp_path, 1, evidence(0.9, 0.1, 0.0, seed=9))
    blind = replace(renamed(later, "hrnn-lucky"), first_of_hour=lambda _: None)
    second = write_decision(decide(blind), tmp_path, "2016-03-20T00:00:59")
    assert second.is_file()
    decision, _ = hourly(tmp_path, 2)
    assert [look.file for look in decision.looks[:-1]] == [first.name]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "hrnn_fresh"},
        {"gate": GateSettings(metric="recall")},
        {"rule": RULE.model_copy(update={"k": 10})},
    ],
)
def test_looks_of_another_kind_do_not_count(tmp_path: Path, changes: dict[str, object]) -> None:
    hourly(tmp_path, 1)
    decision, _ = hourly(tmp_path, 2, **changes)
    assert len(decision.looks) == 1


def test_looks_against_another_baseline_do_not_count(tmp_path: Path) -> None:
    hourly(tmp_path, 1)
    case = at_hour(tmp_path, 2, evidence(0.48, 0.45, 0.0, n_users=80, seed=2))
    assert len(decide(case).looks) == 2
    renamed = replace(case, baselines={"pop": case.contestants["floor"]})
    assert len(decide(renamed).looks) == 1


@pytest.mark.parametrize("role", ["candidate", "floor"])
def test_a_line_or_a_floor_that_is_made_otherwise_begins_anew(tmp_path: Path, role: str) -> None:
    hourly(tmp_path, 1)
    case = at_hour(tmp_path, 2, evidence(0.48, 0.45, 0.0, n_users=80, seed=2))
    other = replace(case.contestants[role], definition=definition(parameters={"width": 100}))
    assert len(decide(case).looks) == 2
    assert len(decide(replace(case, **as_role(role, other))).looks) == 1


def test_a_definition_is_the_same_for_the_same_parts_only() -> None:
    parts = {"system": "hrnn", "parameters": {"width": 100, "seed": None}, "init_from": "none"}
    again = {name: parts[name] for name in reversed(parts)}
    assert definition(**parts) == definition(**again)
    for change in ({"system": "pop"}, {"parameters": {"width": 64}}, {"init_from": "self"}):
        assert definition(**{**parts, **change}) != definition(**parts)


def test_another_champion_begins_anew_even_if_the_old_one_comes_back(tmp_path: Path) -> None:
    def against(hour: int, version: str, record: str) -> int:
        case = at_hour(tmp_path, hour, evidence(0.5, 0.45, 0.0, n_users=60, seed=hour))
        champion = replace(case.champion, version=version, champion_record=record)
        decision = decide(replace(case, champion=champion))
        write_decision(decision, tmp_path, f"t{hour:02d}")
        return len(decision.looks)

    assert [against(hour, "1", "bootstrap") for hour in range(3)] == [1, 2, 3]
    assert [against(hour, "2", "promotion") for hour in range(3, 5)] == [1, 2]
    assert against(5, "1", "rollback") == 1
    assert against(6, "1", "bootstrap") == 1


def test_hours_before_the_champion_went_live_do_not_count(tmp_path: Path) -> None:
    """As where hours are judged again after a person went back to the model before."""
    for hour in range(4):
        hourly(tmp_path, hour)
    case = at_hour(tmp_path, 4, evidence(0.48, 0.45, 0.0, n_users=80, seed=4), START + 2)
    assert [look.hours.first for look in decide(case).looks] == [START + h for h in (2, 3, 4)]


def test_the_champion_itself_is_no_look_and_sets_no_scale(tmp_path: Path) -> None:
    """The hour after a promotion, in which the line's latest fit is what is live."""
    case = at_hour(tmp_path, 0, CLEAR)
    same = decide(replace(case, champion=case.candidate))
    assert (same.outcome.value, same.reasons) == ("hold", ("same_model",))
    assert (same.looks, same.proof) == ((), None)
    write_decision(same, tmp_path, "t0")
    assert len(hourly(tmp_path, 1)[0].looks) == 1


def test_a_first_look_at_equal_ranks_does_not_set_the_scale(tmp_path: Path) -> None:
    twin = at_hour(tmp_path, 0, evidence(0.45, 0.45, 0.0, n_users=80))
    ranks = replace(twin.candidate.ranks, model_id="hrnn-old")
    write_decision(
        decide(replace(twin, champion=replace(twin.champion, ranks=ranks))), tmp_path, "t0"
    )
    with_twin, _ = hourly(tmp_path, 1)
    alone = decide(at_hour(tmp_path / "none", 1, with_twin.evidence))
    assert [len(one.looks) for one in (with_twin, alone)] == [2, 1]
    assert with_twin.proof.scale == alone.proof.scale


def test_a_new_period_begins_anew(tmp_path: Path) -> None:
    monday = 168 - START.index % 168  # hours until the next period begins
    counted = [len(hourly(tmp_path, monday + hour)[0].looks) for hour in (-2, -1, 0, 1)]
    assert counted == [1, 2, 1, 2]


def test_events_that_were_looked_at_already_are_no_further_look(tmp_path: Path) -> None:
    day = RULE.model_copy(update={"horizon": "24h"})
    hourly(tmp_path, 0, rule=day)
    overlapping, _ = hourly(tmp_path, 5, rule=day)
    assert overlapping.outcome is Outcome.HOLD
    assert "overlaps_an_earlier_look" in overlapping.reasons
    assert overlapping.looks == ()
    later, _ = hourly(tmp_path, 24, rule=day)
    assert [look.hours.first for look in later.looks] == [START, START + 24]


def tamper(path: Path) -> None:
    path.chmod(0o644)
    path.write_text(path.read_text().replace('"dd": 1', '"dd": 2', 1) + " ")


def test_an_earlier_decision_that_was_changed_blocks(tmp_path: Path) -> None:
    _, path = hourly(tmp_path, 1)
    tamper(path)
    decision, _ = hourly(tmp_path, 2)
    assert (decision.outcome.value, decision.reasons) == ("block", ("earlier_evidence_damaged",))
    assert "changed after it was written" in decision.sentence


def test_an_earlier_decision_that_was_counted_and_is_gone_blocks(tmp_path: Path) -> None:
    _, path = hourly(tmp_path, 1)
    hourly(tmp_path, 2)
    path.unlink()
    decision, _ = hourly(tmp_path, 3)
    assert decision.reasons == ("earlier_evidence_damaged",)
    assert "is gone" in decision.sentence


def test_a_damaged_decision_of_a_later_hour_is_no_matter(tmp_path: Path) -> None:
    for hour in (3, 200):
        tamper(hourly(tmp_path, hour)[1])
    assert len(hourly(tmp_path, 2)[0].looks) == 1


def test_more_lines_need_more_evidence() -> None:
    alone, among = decide(CLEAR), decide(replace(CLEAR, n_candidates=5))
    assert among.proof.bound == pytest.approx(alone.proof.bound + math.log(5))
    assert among.proof.lower < alone.proof.lower


def test_earlier_looks_are_read_back_as_they_were(tmp_path: Path) -> None:
    decision, path = hourly(tmp_path, 1)
    key = decision.looks[-1].key
    (read,) = earlier_looks(tmp_path, START + 2, key)
    assert read.champion == decision.looks[-1].champion
    assert read.baselines == decision.looks[-1].baselines
    assert (read.file, read.hours) == (path.name, decision.looks[-1].hours)
    assert earlier_looks(tmp_path, START + 2, replace(key, k=7)) == ()
    assert isinstance(key, LookKey)


# Several candidates


def test_of_several_that_win_the_surest_is_chosen() -> None:
    good = decide(replace(evidence(0.6, 0.3, 0.1, n_users=400), name="good"))
    best_case = evidence(0.8, 0.3, 0.1, n_users=400)
    best = decide(replace(best_case, name="best"))
    held = decide(replace(evidence(0.3, 0.3, 0.1), name="held"))
    settled = choose([best, held, good])
    assert [one.evidence.name for one in settled][-1] == "best"
    outcomes = {one.evidence.name: (one.outcome.value, one.reasons) for one in settled}
    assert outcomes["best"][0] == "promote"
    assert outcomes["good"] == ("hold", ("another_is_better",))
    assert outcomes["held"] == ("hold", ("not_better_than_champion",))


def test_where_none_wins_the_least_bad_comes_last() -> None:
    held, bad = decide(evidence(0.3, 0.3, 0.1)), decide(evidence(0.1, 0.6, 0.1))
    assert [one.outcome for one in choose([held, bad])] == [Outcome.BLOCK, Outcome.HOLD]


# The statistics


def test_the_numbers_of_this_look_are_those_of_a_slow_paired_bootstrap() -> None:
    result = beats_champion(CLEAR)
    mine, theirs = CLEAR.candidate.ranks, CLEAR.champion.ranks
    gain = target_values("mrr", mine.rank, 20) - target_values("mrr", theirs.rank, 20)
    by_user = [gain[mine.user == user] for user in range(mine.n_users)]
    rng = np.random.default_rng(CLEAR.seed)
    means = []
    for _ in range(RULE.bootstrap_samples):
        drawn = rng.integers(0, len(by_user), len(by_user))
        means.append(np.concatenate([by_user[user] for user in drawn]).mean())
    found = result.numbers["this_look"]["difference"]
    assert found["mean"] == pytest.approx(gain.mean())
    assert found["lower"] == pytest.approx(np.quantile(means, 0.025))
    assert found["upper"] == pytest.approx(np.quantile(means, 0.975))


def test_the_sums_of_a_look_are_those_of_its_targets() -> None:
    mine, theirs = CLEAR.candidate.ranks, CLEAR.champion.ranks
    gain = target_values("mrr", mine.rank, 20) - target_values("mrr", theirs.rank, 20)
    found = CLEAR.look.champion["all"]
    assert found.d == pytest.approx(gain.sum())
    assert found.dd == pytest.approx(
        sum(gain[mine.user == user].sum() ** 2 for user in range(mine.n_users))
    )
    assert isinstance(found, Sums)


def test_decisions_repeat() -> None:
    one, again = decide(CLEAR), decide(evidence())
    assert (one.outcome, one.checks) == (again.outcome, again.checks)
    assert decide(replace(CLEAR, seed=1)).checks != one.checks


def test_an_hour_that_is_judged_late_adds_its_look_and_promotes_nobody() -> None:
    """By a fit from before the hour, which in time would be the wrong one to judge."""
    case = evidence()
    older = replace(case.candidate, as_of=START - 2, dataset_id="of-two-hours-before")
    in_time = replace(case, candidate=older, base_dataset_id="base")
    assert decide(in_time).reasons == ("stale_artefact",)
    decision = decide(replace(in_time, late=True))
    assert (decision.outcome, decision.reasons) == (Outcome.HOLD, ("hour_was_caught_up",))
    assert decision.proof is not None
    assert [look.candidate for look in decision.looks] == [older.model_id]
    future = replace(in_time, late=True, candidate=replace(older, as_of=START + 1))
    assert decide(future).reasons == ("trained_on_the_future",)
