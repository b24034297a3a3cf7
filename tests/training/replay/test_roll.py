"""Rolling: who is fitted when, on what, and asked what; killed runs go on to the same results."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from replay_world import SMALL, START, log_of, run_of, settings_of, stepping, walks

from pipeline.errors import HourglassError, UsageError
from pipeline.settings.learning import ArmSettings, ReplaySettings, RetrainSettings
from pipeline.settings.settings import Settings
from training.data.in_memory import InMemoryDataset
from training.replay.arms import ArmState, arms_of
from training.replay.roll import Run, roll
from training.replay.store import StepResult, read_step, run_lock
from training.replay.table import markdown, reference_arm, results_of, table_of

HOURS = 30
KILLS = min(3, int(os.environ.get("HOURGLASS_TEST_KILLS", "1")))
HOURS_ROLLED = 2 + 2 * KILLS
POP = {"name": "recent_pop", "model": "recent_pop", "parameters": {"k_h": 6}}
KNN = {"name": "item_knn", "model": "item_knn"}
TREND = {"name": "trend", "model": "hrnn_trend", "parameters": SMALL}
CONTINUED = {
    **TREND,
    "name": "continued",
    "mode": "continued",
    "window": "3h",
    "first_window": "8h",
}
OFFLINE = {**TREND, "name": "offline", "mode": "offline"}


def steps_of(run: Run, arm: Any) -> list[StepResult]:
    return [read_step(run.arm_folder(arm), hours.first) for hours in run.steps]


def rolled(settings: Settings, events: list[Any], first: int, stop: int) -> dict[str, Any]:
    log = log_of(events, settings, HOURS)
    run, arms = run_of(settings, first, stop)
    roll(run, lambda: log, arms)
    return {arm.name: steps_of(run, arm) for arm in arms}


def test_all_arms_answer_the_same_questions(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, [POP, KNN, OFFLINE, CONTINUED])
    log = log_of(walks(HOURS), settings, HOURS)
    run, arms = run_of(settings, 12, 16)
    roll(run, lambda: log, arms)
    found = results_of(run, arms)  # refuses other questions
    stop_us = (START + 12).index * 3_600_000_000
    for number, hours in enumerate(run.steps):
        one = found.by_arm["item_knn"][number].ranks
        # Every event of the hour that is not on the item before it.
        happened = {
            (int(log.user[at]), int(log.time_us[at]), int(log.item[at]))
            for at in range(len(log))
            if hours.first
            <= START + int((log.time_us[at] - stop_us) // 3_600_000_000 + 12)
            < hours.stop
            and not (at and log.user[at - 1] == log.user[at] and log.item[at - 1] == log.item[at])
        }
        asked = zip(one.user.tolist(), one.time_us.tolist(), one.item.tolist(), strict=True)
        assert set(asked) == happened


def test_arms_are_fitted_when_they_are_due(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, [{**KNN, "every": 2}, OFFLINE, CONTINUED])
    found = rolled(settings, walks(HOURS), 12, 16)
    fitted = {name: [one.facts["fitted"] for one in steps] for name, steps in found.items()}
    assert fitted == {
        "item_knn": [True, False, True, False],
        "offline": [True, False, False, False],
        "continued": [True] * 4,
    }
    learned = [one.facts["learned_events"] for one in found["continued"]]
    assert max(learned[1:]) < learned[0]  # three hours instead of eight
    as_of = [one.facts["model_as_of"] for one in found["item_knn"]]
    assert as_of == [str(START + hour) for hour in (12, 12, 14, 14)]


def test_a_continued_arm_keeps_the_items_it_has_learned(tmp_path: Path) -> None:
    events = [e for e in walks(HOURS) if e[1] != "i03" or e[2] < 11]
    found = rolled(settings_of(tmp_path, [CONTINUED, {**TREND, "window": "3h"}]), events, 12, 16)
    n_items = {name: [one.facts["n_items"] for one in steps] for name, steps in found.items()}
    # One that nobody meets any more, and one that is new.
    assert n_items["continued"][-1] == n_items["continued"][0] + 1 == n_items["trend"][-1] + 1


def test_what_happens_in_a_step_is_not_known_to_it(tmp_path: Path) -> None:
    """Another future gives the same ranks up to it."""
    events = walks(HOURS)
    other = [e if e[2] < 14 else (e[0], "i00", e[2]) for e in events]
    arms = [POP, KNN, CONTINUED]
    one = rolled(settings_of(tmp_path / "one", arms), events, 12, 16)
    two = rolled(settings_of(tmp_path / "two", arms), other, 12, 16)
    for name in one:
        for step in range(2):
            np.testing.assert_array_equal(one[name][step].ranks.rank, two[name][step].ranks.rank)
    assert any(len(one[name][2].ranks.rank) != len(two[name][2].ranks.rank) for name in one)


def test_an_item_first_seen_within_a_step_is_a_miss_and_told_apart(tmp_path: Path) -> None:
    events = [*walks(HOURS), *(("u00", "new", 13.5), ("u01", "new", 13.6), ("u02", "new", 14.5))]
    settings = settings_of(tmp_path, [POP, KNN])
    found = rolled(settings, events, 13, 15)
    log = log_of(events, settings, HOURS)
    new = int(np.searchsorted(log.item_ids, "new"))
    for steps in found.values():
        within, after = (one.ranks for one in steps)
        of_new = within.item == new
        assert of_new.sum() == 2
        assert not within.known[of_new].any()
        assert (within.rank[of_new] > settings.evaluation.k).all()
        assert after.known[after.item == new].all()
    run, arms = run_of(settings, 13, 15)
    said = table_of(results_of(run, arms), arms, settings.evaluation, 0)
    assert said["n_targets"] - said["n_known"] >= 2
    row = said["arms"][1]
    vocabulary = np.concatenate([one.ranks.known for one in found["item_knn"]])
    assert row["knew"] == pytest.approx(vocabulary.mean(), abs=1e-5)
    assert f"| {row['knew']:.1%} |" in markdown(said)
    assert row["all"]["recall"][0] < row["known"]["recall"][0]
    hits = row["known"]["recall"][0] * said["n_known"]
    assert row["all"]["recall"][0] == pytest.approx(hits / said["n_targets"], abs=1e-4)


def test_an_item_that_only_a_stale_arm_lacks_is_its_miss_alone(tmp_path: Path) -> None:
    """Even where there are fewer items than places."""
    events = [(f"u{n}", f"i{at % 2}", 1 + n / 10 + at) for n in range(6) for at in range(8)]
    events += [(f"u{n}", "late", 9.1 + n / 10) for n in range(6)]
    events += [(f"u{n}", "late", 10.1 + n / 10) for n in range(6, 9)]
    arms = [{**KNN, "name": "stale", "mode": "offline"}, KNN]
    settings = settings_of(tmp_path, arms, min_session_events=1)
    settings = settings.model_copy(
        update={"evaluation": settings.evaluation.model_copy(update={"k": 20})}
    )
    found = rolled(settings, events, 9, 11)
    stale, fresh = (found[name][1].ranks for name in ("stale", "item_knn"))
    assert fresh.known.all()
    assert (stale.rank > 20).all()
    assert (fresh.rank <= 3).all()


def test_users_of_whom_an_arm_knows_nothing_are_asked_for_too(tmp_path: Path) -> None:
    """The last user has met but one item, which no arm learned."""
    events = [*walks(HOURS), ("zz", "rare", 12.1), ("zz", "i00", 12.2), ("zz", "rare", 12.3)]
    found = rolled(settings_of(tmp_path, [OFFLINE, KNN]), events, 12, 13)
    for steps in found.values():
        assert (steps[0].ranks.user == 12).sum() == 3


def test_an_empty_step_and_a_log_of_one_row(tmp_path: Path) -> None:
    events = [e for e in walks(HOURS) if not 13 <= e[2] < 14]
    found = rolled(settings_of(tmp_path, [POP, KNN]), events, 12, 15)
    assert [len(one.ranks.rank) > 0 for one in found["item_knn"]] == [True, False, True]
    alone = settings_of(tmp_path / "alone", [POP], min_session_events=1)
    found = rolled(alone, [("u00", "i00", 5.0)], 6, 8)
    assert [len(one.ranks.rank) for one in found["recent_pop"]] == [0, 0]
    with pytest.raises(HourglassError, match=r"arm 'recent_pop': no event of .* is left"):
        rolled(settings_of(tmp_path / "none", [POP]), [("u00", "i00", 5.0)], 6, 8)


def test_an_arm_keeps_its_model_where_the_window_is_empty(tmp_path: Path) -> None:
    events = [e for e in walks(HOURS) if not 13 <= e[2] < 16]
    arm = {**CONTINUED, "window": "1h"}
    found = rolled(settings_of(tmp_path, [arm]), events, 12, 18)
    fitted = [one.facts["fitted"] for one in found["continued"]]
    assert fitted == [True, True, False, False, False, True]


def test_popularity_can_be_frozen(tmp_path: Path) -> None:
    events = [e if e[2] < 14 else (e[0], f"i{int(e[2] * 50) % 3:02d}", e[2]) for e in walks(HOURS)]
    arms = [
        {**POP, "name": "fresh", "mode": "offline"},
        {**POP, "name": "frozen", "mode": "offline", "popularity": "frozen"},
        POP,
    ]
    found = rolled(settings_of(tmp_path, arms), events, 12, 20)
    ranks = {name: np.concatenate([s.ranks.rank for s in steps]) for name, steps in found.items()}
    same = {name: (ranks[name] == ranks["recent_pop"]).mean() for name in ("fresh", "frozen")}
    # A new fit would know new items too, and break ties anew.
    assert same["fresh"] > 0.7
    assert same["frozen"] < 0.5
    assert ranks["fresh"].mean() < ranks["frozen"].mean()


def test_fits_that_are_not_worth_it_are_left_out(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, [{**KNN, "skip_when_stale": True}, {**POP}])
    log = log_of(walks(HOURS), settings, HOURS)
    run, arms = run_of(settings, 12, 17)
    seen: list[tuple[str, str]] = []

    def every_other_hour(state: ArmState, cut: InMemoryDataset) -> bool:
        seen.append((str(state.as_of), str(cut.data.manifest.as_of)))
        return cut.data.manifest.as_of.index - state.as_of.index >= 2

    roll(run, lambda: log, arms, should_retrain=every_other_hour)
    assert [one.facts["fitted"] for one in steps_of(run, arms[0])] == [True, False] * 2 + [True]
    assert all(one.facts["fitted"] for one in steps_of(run, arms[1]))
    assert seen[0] == (str(START + 12), str(START + 13))


def test_steps_may_be_longer_than_an_hour(tmp_path: Path) -> None:
    settings = stepping(settings_of(tmp_path, [POP, KNN]), "6h")
    found = rolled(settings, walks(HOURS), 12, 26)
    assert [one.facts["hours"] for one in found["item_knn"]] == [
        f"{START + first} to {START + stop}" for first, stop in ((12, 18), (18, 24), (24, 26))
    ]


def test_a_run_that_is_done_reads_nothing(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, [POP])
    log = log_of(walks(HOURS), settings, HOURS)
    run, arms = run_of(settings, 12, 14)
    roll(run, lambda: log, arms)
    roll(run, lambda: pytest.fail("the log was read"), arms)


def _roll(work: Path, arms: list[Any], wait_s: float) -> None:
    settings = settings_of(work, arms)
    log = log_of(walks(HOURS), settings, HOURS)
    run, made = run_of(settings, 12, 12 + HOURS_ROLLED)

    def slowly(*_: object) -> None:
        time.sleep(wait_s)

    with run_lock(run.folder, 0, print):
        roll(run, lambda: log, made, slowly)


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    shorter = {**KNN, "name": "shorter", "window": "3h", "first_window": "8h"}
    arms = [POP, OFFLINE, CONTINUED, {**KNN, "every": 3}, shorter]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _roll(whole, arms, 0)
    context = multiprocessing.get_context("forkserver")
    for kill in range(KILLS):
        process = context.Process(target=_roll, args=(killed, arms, 0.05))
        process.start()
        deadline = time.monotonic() + 600
        target, done = 4 + 7 * kill, 0  # steps of arms
        while process.is_alive() and time.monotonic() < deadline and done < target:
            done = len(list(killed.glob("replay/run/arms/*/[!.]*.parquet")))
            time.sleep(0.005)
        assert done >= target, "it was gone, or did not come so far"
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    done = len(list(killed.glob("replay/run/arms/*/[!.]*.parquet")))
    assert 4 + 7 * (KILLS - 1) <= done < 5 * HOURS_ROLLED
    _roll(killed, arms, 0)
    settings = settings_of(whole, arms)
    run, made = run_of(settings, 12, 12 + HOURS_ROLLED)
    again, _ = run_of(settings_of(killed, arms), 12, 12 + HOURS_ROLLED)
    for arm in made:
        for one, other in zip(steps_of(run, arm), steps_of(again, arm), strict=True):
            np.testing.assert_array_equal(one.ranks.rank, other.ranks.rank)
            assert one.facts["learned_events"] == other.facts["learned_events"]
    left = {path.suffix for path in killed.glob("replay/run/arms/*/.*")}
    assert not left


@pytest.mark.parametrize(
    "own",
    [{"first_window": "8h", "window": "3h"}, {"first_parameters": {"reach": 1}}],
    ids=["first window", "first parameters"],
)
def test_what_is_for_the_first_fit_is_not_done_again_after_a_kill(
    tmp_path: Path, own: dict[str, Any]
) -> None:
    arms = [{**KNN, **own}]
    whole = rolled(settings_of(tmp_path / "whole", arms), walks(HOURS), 12, 18)
    killed = settings_of(tmp_path / "killed", arms)
    cut_short(killed, walks(HOURS), 12, 18, steps=3)
    again = rolled(killed, walks(HOURS), 12, 18)
    for one, other in zip(whole["item_knn"], again["item_knn"], strict=True):
        np.testing.assert_array_equal(one.ranks.rank, other.ranks.rank)
        assert one.facts["learned_events"] == other.facts["learned_events"]


def test_a_model_is_kept_where_the_window_is_empty_after_a_kill(tmp_path: Path) -> None:
    events = [e for e in walks(HOURS) if not 13 <= e[2] < 16]
    settings = settings_of(tmp_path, [{**KNN, "window": "1h"}])
    cut_short(settings, events, 12, 18, steps=3)
    found = rolled(settings, events, 12, 18)["item_knn"]
    assert [one.facts["fitted"] for one in found] == [True, True, False, False, False, True]
    assert {one.facts["model_as_of"] for one in found[1:5]} == {str(START + 13)}


def cut_short(settings: Settings, events: list[Any], first: int, stop: int, steps: int) -> None:
    """Do some steps of the first arm, then leave."""
    log = log_of(events, settings, HOURS)
    run, arms = run_of(settings, first, stop)

    def leave(_hours: object, _arm: str, done: int, _all: int) -> None:
        if done == steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        roll(run, lambda: log, arms, leave)


def test_a_second_process_is_told_who_holds_the_run(tmp_path: Path) -> None:
    with (
        run_lock(tmp_path, 0, print),
        pytest.raises(HourglassError, match=rf"process \(pid {os.getpid()} on .*, since .*\) runs"),
        run_lock(tmp_path, 0, print),
    ):
        pass
    with run_lock(tmp_path, 0, print):
        pass


def test_arms_by_name(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, [POP, KNN])
    assert [arm.name for arm in arms_of(settings, ["item_knn"])] == ["item_knn"]
    with pytest.raises(UsageError, match="no arm 'hrnn': use one of recent_pop, item_knn"):
        arms_of(settings, ["hrnn"])
    with pytest.raises(UsageError, match="item_knn is always fitted anew: use mode fresh"):
        arms_of(settings_of(tmp_path, [{**KNN, "mode": "continued"}]), [])
    with pytest.raises(ValueError, match="two arms are called 'pop'"):
        ReplaySettings(arms=(ArmSettings(name="pop"), ArmSettings(name="pop", every=2)))


def test_rules_of_when_to_skip_make_another_arm_of_those_that_skip(tmp_path: Path) -> None:
    asked = settings_of(tmp_path, [{**KNN, "skip_when_stale": True}, {**KNN, "name": "always"}])
    rule = RetrainSettings(max_unseen_share=0.9)
    changed = asked.model_copy(update={"retrain": rule})
    one, other = ([arm.digest for arm in arms_of(s, [])] for s in (asked, changed))
    assert one[0] != other[0]
    assert one[1] == other[1]


def test_the_default_arms(tmp_path: Path) -> None:
    found = {arm.name: arm for arm in arms_of(settings_of(tmp_path, []), [])}
    assert list(found) == [
        "recent_pop", "p_pop", "item_knn", "vsknn", "stan", "vstan", "neighbours",
        "hrnn_trend", "hrnn_trend-without-network", "hrnn_trend-offline", "hrnn",
    ]  # fmt: skip
    # None loses by its vocabulary: all know every item of the same window.
    assert {(one.settings.min_item_events, one.settings.window) for one in found.values()} == {
        (1, None)
    }
    without = found["hrnn_trend-without-network"]
    assert without.model.parameters.items() >= {"affinity": False, "epochs": 1}.items()
    assert reference_arm([without, found["hrnn_trend"]]) == "hrnn_trend"
    assert found["neighbours"].model.system == "item_knn"
    assert found["hrnn_trend"].settings.mode == "continued"
    # A copy by another name is the same arm: its results need not be made again.
    one, two = (
        arms_of(settings_of(tmp_path, [{**KNN, "name": name}]), [])[0] for name in ("a", "b")
    )
    assert one.digest == two.digest != found["neighbours"].digest
