from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from judging import GATE, RULE, START, contestant, evidence, ranks_of, skilled, users, with_ranks

from pipeline.settings import EvaluationSettings, GateSettings
from training.checks import beats_champion
from training.evidence import CheckResult, Contestant, Evidence, Outcome
from training.gate import COMPARISONS, decide
from training.metrics import target_values
from training.soundness import Defect, Soundness

CLEAR = evidence()


def outcome_and_reasons(case: Evidence) -> tuple[str, tuple[str, ...]]:
    decision = decide(case)
    return decision.outcome.value, decision.reasons


def test_a_clearly_better_candidate_is_promoted() -> None:
    decision = decide(CLEAR)
    assert decision.outcome is Outcome.PROMOTE
    assert decision.reasons == ("enough_data", "better_than_floor", "better_than_champion")
    assert "hrnn-new against the champion hrnn-old: mrr@20" in decision.sentence


def test_without_a_champion_the_floor_decides() -> None:
    assert outcome_and_reasons(evidence(0.6, None, 0.1)) == (
        "promote",
        ("enough_data", "better_than_floor", "no_champion"),
    )
    assert outcome_and_reasons(evidence(0.1, None, 0.6)) == ("hold", ("not_better_than_floor",))


def test_a_candidate_no_better_than_the_champion_is_held() -> None:
    assert outcome_and_reasons(evidence(0.5, 0.5, 0.1)) == ("hold", ("not_better_than_champion",))


def test_a_candidate_better_than_the_champion_but_not_than_the_floor_is_held() -> None:
    assert outcome_and_reasons(evidence(0.5, 0.2, 0.5)) == ("hold", ("not_better_than_floor",))


def test_a_candidate_surely_far_worse_than_the_champion_is_blocked() -> None:
    assert outcome_and_reasons(evidence(0.2, 0.6, 0.05)) == ("block", ("worse_than_champion",))


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
    few_targets = replace(CLEAR, gate=GateSettings(min_targets=100_000))
    assert outcome_and_reasons(few_targets) == ("hold", ("too_few_targets",))


def test_one_user_is_too_few_even_where_one_is_allowed() -> None:
    user = np.zeros(300, dtype=int)
    case = replace(
        CLEAR,
        gate=GateSettings(min_users=1),
        candidate=contestant("hrnn-new", ranks_of("hrnn-new", np.full(300, 1), user)),
        champion=None,
        floor=contestant("recent_pop-now", ranks_of("recent_pop-now", np.full(300, 9), user)),
    )
    assert outcome_and_reasons(case) == ("hold", ("too_few_users", "not_better_than_floor"))


def test_an_hour_without_targets_is_held() -> None:
    none = np.array([], dtype=int)
    case = replace(
        CLEAR,
        **{
            role: contestant(one.model_id, ranks_of(one.model_id, none, none))
            for role, one in CLEAR.contestants.items()
        },
    )
    assert outcome_and_reasons(case) == ("hold", ("too_few_users", "no_targets", "no_targets"))


# Poison: whatever is broken blocks, and nothing is compared


def blocked(reason: str, **changes: object) -> None:
    decision = decide(replace(CLEAR, **changes))  # type: ignore[arg-type]
    assert (decision.outcome.value, decision.reasons) == ("block", (reason,))
    compared = {check.name for check in decision.checks}
    assert not compared & {check.__name__ for check in COMPARISONS}


@pytest.mark.parametrize(
    "code", ["not_loadable", "vocabulary_mismatch", "scores_not_finite", "sees_the_future"]
)
def test_a_defective_artefact_is_blocked_by_its_defect(code: str) -> None:
    found = Soundness("hrnn-new", (Defect(code, "broken"),), None, 64)
    blocked(code, soundness=found)


def test_an_artefact_that_nobody_examined_is_blocked() -> None:
    blocked("soundness_unknown", soundness=None)
    blocked("soundness_unknown", soundness=Soundness("hrnn-other", (), "c" * 64, 64))


def test_a_candidate_trained_past_the_first_test_hour_is_blocked() -> None:
    blocked("trained_on_the_future", candidate=replace(CLEAR.candidate, as_of=START + 1))


def test_a_champion_or_floor_that_saw_the_test_hour_cannot_be_judged() -> None:
    late = replace(CLEAR, champion=replace(CLEAR.champion, as_of=START + 1))
    assert outcome_and_reasons(late) == ("hold", ("champion_trained_on_the_future",))
    late = replace(CLEAR, floor=replace(CLEAR.floor, as_of=START + 1))
    assert outcome_and_reasons(late) == ("hold", ("floor_trained_on_the_future",))


def test_data_that_failed_or_skipped_validation_blocks() -> None:
    blocked("data_quality_failed", quality_passed=False)
    blocked("data_quality_unknown", quality_passed=None)


@pytest.mark.parametrize("role", ["candidate", "champion", "floor"])
def test_missing_ranks_of_anyone_block(role: str) -> None:
    blocked("missing_ranks", **{role: replace(CLEAR.contestants[role], ranks=None)})
    blocked("missing_ranks", **{role: replace(CLEAR.contestants[role], ranks_sha256=None)})


@pytest.mark.parametrize("role", ["candidate", "champion", "floor"])
def test_other_targets_of_anyone_block(role: str) -> None:
    one = CLEAR.contestants[role]
    shifted = one.ranks.position + 1
    blocked("different_targets", **{role: with_ranks(one, position=shifted)})
    blocked("different_targets", **{role: with_ranks(one, frozen_id="yesterday")})
    blocked("different_targets", **{role: with_ranks(one, rule="repeats=keep targets=all")})
    blocked("ranks_of_another_model", **{role: with_ranks(one, model_id="hrnn-else")})
    blocked("bad_ranks", **{role: with_ranks(one, rank=one.ranks.rank * 0)})


def test_another_rule_than_the_ranks_were_made_by_blocks() -> None:
    blocked("different_targets", rule=EvaluationSettings(repeats="keep"))


@pytest.mark.parametrize(
    "name", ["metric", "confidence", "min_users", "min_targets", "max_block_drop"]
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


# The statistics


def test_the_numbers_are_those_of_a_slow_paired_bootstrap() -> None:
    result = beats_champion(CLEAR)
    mine, theirs = CLEAR.candidate.ranks, CLEAR.champion.ranks
    gain = target_values("mrr", mine.rank, 20) - target_values("mrr", theirs.rank, 20)
    by_user = [gain[mine.user == user] for user in range(mine.n_users)]
    rng = np.random.default_rng(CLEAR.seed)
    means = []
    for _ in range(RULE.bootstrap_samples):
        drawn = rng.integers(0, len(by_user), len(by_user))
        means.append(np.concatenate([by_user[user] for user in drawn]).mean())
    found = result.numbers["difference"]
    assert found["mean"] == pytest.approx(gain.mean())
    assert found["lower"] == pytest.approx(np.quantile(means, 0.025))
    assert found["upper"] == pytest.approx(np.quantile(means, 0.975))


def test_decisions_repeat() -> None:
    one, again = decide(CLEAR), decide(evidence())
    assert (one.outcome, one.checks) == (again.outcome, again.checks)
    assert decide(replace(CLEAR, seed=1)).checks != one.checks


def looks(n: int, n_users: int, candidate: float, champion: float) -> list[str]:
    """Outcomes of n independent looks at a candidate and a champion of given skills."""
    outcomes = []
    rng = np.random.default_rng(5)
    rule = EvaluationSettings(bootstrap_samples=100)
    for look in range(n):
        user = users(n_users, rng)

        def of(model_id: str, skill: float, user: np.ndarray = user) -> Contestant:
            return contestant(model_id, ranks_of(model_id, skilled(user, skill, rng), user))

        case = replace(
            CLEAR,
            candidate=of("hrnn-new", candidate),
            champion=of("hrnn-old", champion),
            floor=of("recent_pop-now", 0.0),
            rule=rule,
            seed=look,
        )
        outcomes.append(decide(case).outcome.value)
    return outcomes


def test_equal_models_are_rarely_promoted_at_one_look() -> None:
    """A/A: 95 % intervals promise 2.5 %; 600 looks allow 1 % to 4.5 %."""
    outcomes = looks(600, 100, 0.4, 0.4)
    assert 0.01 <= outcomes.count("promote") / 600 <= 0.045
    assert outcomes.count("block") / 600 <= 0.025


def test_a_real_gain_is_seen_and_more_users_see_it_better() -> None:
    few = looks(60, 60, 0.48, 0.4).count("promote")
    many = looks(60, 400, 0.48, 0.4).count("promote")
    assert few < many
    assert many >= 45
