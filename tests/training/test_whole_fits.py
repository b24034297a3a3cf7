"""Going on from hour to hour: anew now and then, without learning in between, and from repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import AS_OF, AS_OF_S, ring_walks, write_dataset

from pipeline.errors import UsageError
from pipeline.hours import US_PER_HOUR, Hour
from pipeline.settings.learning import ANEW_DAILY
from training.batching.targets import TargetSplit, repeats_last
from training.data.reader import DataSet, Histories, Requests, read_dataset
from training.model_types import FitProgress, Tensors
from training.models import build
from training.models.parts.base import GradientTrained
from training.models.parts.recurrent import RecurrentModel
from training.trainer.interface import FitOptions, ParentWeights

HOUR_S = 3600
ITEMS = [f"item-{item:02d}" for item in range(12)]
SMALL: dict[str, Any] = {
    "width": 8,
    "epochs": 2,
    "negatives": 0,
    "validation_share": 0.0,
    "continue_h": 24,
    "continue_epochs": 1,
    "device": "cpu",
}
ITEM_VECTORS = "items.vector.weight"


def quiet(progress: FitProgress) -> None:
    """Nobody looks."""


def data_at(folder: Path, hours_later: int, n_items: int = 12) -> DataSet:
    """A data set of the same walks, whose time is so many hours after `AS_OF_S`."""
    as_of_s = AS_OF_S + hours_later * HOUR_S
    walks = ring_walks(40, as_of_s - 2 * HOUR_S, hours_later, n_items)
    kept = {
        user: [(item, time_s) for item, time_s in events if time_s < as_of_s]
        for user, events in walks.items()
    }
    as_of = str(Hour(int(as_of_s) // HOUR_S))
    return read_dataset(write_dataset(folder, kept, as_of=as_of))


def parent_of(tensors: Tensors, data: DataSet) -> ParentWeights:
    as_of_us = data.manifest.as_of.index * US_PER_HOUR
    return ParentWeights("parent-1", tensors, data.item_ids, as_of_us=as_of_us)


def fitted(
    data: DataSet, parent: ParentWeights | None = None, system: str = "hrnn", **parameters: object
) -> Tensors:
    model = build(system, {**SMALL, **parameters})
    assert isinstance(model, GradientTrained)
    model.fit_with(data, 0, quiet, FitOptions(parent=parent))
    return {name: tensor.copy() for name, tensor in model.tensors().items()}


def same(left: Tensors, right: Tensors) -> bool:
    return left.keys() == right.keys() and all(
        np.array_equal(left[name], right[name], equal_nan=True) for name in left
    )


def test_a_model_is_made_anew_when_its_whole_fit_is_old(tmp_path: Path) -> None:
    before, later = data_at(tmp_path / "a", 0), data_at(tmp_path / "b", 6)
    first = fitted(before)
    parent, from_nothing = parent_of(first, before), fitted(later, anew_h=6)
    assert same(fitted(later, parent, anew_h=6), from_nothing)
    goes_on = fitted(later, parent, anew_h=7)
    assert same(goes_on, fitted(later, parent, anew_h=0))
    assert not np.array_equal(goes_on[ITEM_VECTORS], from_nothing[ITEM_VECTORS])


def test_steps_do_not_make_the_whole_fit_younger(tmp_path: Path) -> None:
    """Steps of four hours each: the second is eight hours after the whole fit."""
    at = [data_at(tmp_path / str(hour), hour) for hour in (0, 4, 8)]
    tensors = fitted(at[0])
    for number, anew in ((1, False), (2, True)):
        parent = parent_of(tensors, at[number - 1])
        tensors = fitted(at[number], parent, anew_h=8)
        assert same(tensors, fitted(at[number])) is anew


def test_of_a_young_site_a_model_is_made_anew_as_events_double(tmp_path: Path) -> None:
    walks = ring_walks(40, AS_OF_S - 20 * HOUR_S, 1, 12)
    few = dict(list(walks.items())[:20])
    small, large = (
        read_dataset(write_dataset(tmp_path / name, users, vocabulary=ITEMS))
        for name, users in (("small", few), ("large", walks))
    )
    counts = [int(data.histories.is_target.sum()) for data in (small, large)]
    assert counts[1] >= 2 * counts[0]
    parent = parent_of(fitted(small, learn_repeats=True), small)
    assert same(fitted(large, parent, anew_h=99), fitted(large, anew_h=99))
    assert not same(fitted(large, parent, anew_h=0), fitted(large, anew_h=99))
    assert not same(fitted(small, parent, anew_h=99), fitted(small, anew_h=99))


def test_a_fit_tells_how_old_the_latest_whole_fit_is(tmp_path: Path) -> None:
    before, later = data_at(tmp_path / "a", 0), data_at(tmp_path / "b", 6)
    parent = parent_of(fitted(before, anew_h=9), before)
    for anew_h, age_h in ((9, 6.0), (5, 0.0)):
        model = build("hrnn", {**SMALL, "anew_h": anew_h})
        assert isinstance(model, GradientTrained)
        metrics = model.fit_with(later, 0, quiet, FitOptions(parent=parent))
        assert metrics["whole_fit_age_h"] == age_h


def test_a_model_that_does_not_say_when_it_was_made_is_continued(tmp_path: Path) -> None:
    """As it is read to be continued: loaded, and asked for its tensors."""
    before, later = data_at(tmp_path / "a", 0), data_at(tmp_path / "b", 48)
    stored = {name: each for name, each in fitted(before).items() if name != "whole_fit"}
    read = build("hrnn", SMALL)
    read.load(stored)
    goes_on = fitted(later, parent_of(read.tensors(), before), anew_h=1)
    assert not same(goes_on, fitted(later))
    assert goes_on["whole_fit"][0] == later.manifest.as_of.index * US_PER_HOUR


def test_a_trend_model_made_anew_stops_where_one_from_nothing_does(tmp_path: Path) -> None:
    """What its parent's weights learned of the validation part has no say in that."""
    at = [
        read_dataset(
            write_dataset(
                tmp_path / str(hour),
                ring_walks(40, AS_OF_S - 9 * HOUR_S, 0, 9)
                | {
                    f"late-{user}": events
                    for user, events in ring_walks(60, AS_OF_S + hour * HOUR_S, 1, 9).items()
                },
                as_of=str(Hour.parse(AS_OF) + hour + 1),
            )
        )
        for hour in (0, 3, 6)
    ]
    chosen: dict[str, object] = {"validation_share": 0.3, "epochs": 4, "anew_h": 5}
    tensors = fitted(at[0], None, "hrnn_trend", **chosen)
    for number in (1, 2):
        parent = parent_of(tensors, at[number - 1])
        tensors = fitted(at[number], parent, "hrnn_trend", **chosen)
    from_nothing = fitted(at[2], None, "hrnn_trend", **chosen)
    of_network = [name for name in tensors if not name.startswith("mixture.")]
    assert all(np.array_equal(tensors[name], from_nothing[name]) for name in of_network)
    # The weights of the score features do go on.
    assert not np.allclose(tensors["mixture.weight"], from_nothing["mixture.weight"])


def stays(hour: int) -> dict[str, list[tuple[str, float]]]:
    """Walks of an earlier and of a later time, the later ones of fewer users."""
    early = ring_walks(40, AS_OF_S - 9 * HOUR_S, 0, 9)
    late = ring_walks(6, AS_OF_S + hour * HOUR_S, 1, 9)
    return early | {f"late-{hour}-{user}": events for user, events in late.items()}


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_model_made_anew_weighs_as_its_parent_should_have(tmp_path: Path, share: float) -> None:
    """By what came since the parent was made, and by the parent's own scores of it."""
    before = read_dataset(write_dataset(tmp_path / "a", stays(-9), as_of=AS_OF))
    as_of = str(Hour.parse(AS_OF) + 7)
    later = read_dataset(write_dataset(tmp_path / "b", stays(-9) | stays(1), as_of=as_of))
    chosen: dict[str, object] = {"validation_share": share, "epochs": 3}
    first = fitted(before, None, "hrnn_trend", **chosen)
    parent = parent_of(first, before)
    anew = fitted(later, parent, "hrnn_trend", **chosen, anew_h=5)
    step = {**chosen, "anew_h": 0, "continue_epochs": 0}
    renewed = fitted(later, parent, "hrnn_trend", **step)
    from_nothing = fitted(later, None, "hrnn_trend", **chosen)
    assert np.array_equal(anew[ITEM_VECTORS], from_nothing[ITEM_VECTORS])
    for name in ("mixture.weight", "mixture.precision"):
        assert np.array_equal(anew[name], renewed[name]), name
        assert name not in first or not np.array_equal(anew[name], first[name])


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_parent_of_other_sizes_stops_no_fit_from_nothing(tmp_path: Path, share: float) -> None:
    """It cannot be asked for anything; the network is the one that there would be without it."""
    before = read_dataset(write_dataset(tmp_path / "a", stays(-9), as_of=AS_OF))
    later = read_dataset(write_dataset(tmp_path / "b", stays(1), as_of=str(Hour.parse(AS_OF) + 7)))
    chosen: dict[str, object] = {"validation_share": share, "epochs": 2, "anew_h": 5}
    parent = parent_of(fitted(before, None, "hrnn_trend", **chosen, width=6), before)
    anew = fitted(later, parent, "hrnn_trend", **chosen)
    from_nothing = fitted(later, None, "hrnn_trend", **chosen)
    assert np.array_equal(anew[ITEM_VECTORS], from_nothing[ITEM_VECTORS])
    assert share == 0 or np.array_equal(anew["mixture.weight"], from_nothing["mixture.weight"])


def test_few_requests_teach_a_little_and_make_a_model_forget_less(tmp_path: Path) -> None:
    """One user's clicks move the weights; of the precision far less than a 20th is forgotten."""
    before = read_dataset(write_dataset(tmp_path / "a", stays(-9), as_of=AS_OF))
    first = fitted(before, None, "hrnn_trend", validation_share=0.3)
    walk = next(iter(ring_walks(1, AS_OF_S + HOUR_S, 1, 9).values()))[:4]
    as_of = str(Hour.parse(AS_OF) + 7)
    later = read_dataset(write_dataset(tmp_path / "b", stays(-9) | {"late": walk}, as_of=as_of))
    renewed = fitted(later, parent_of(first, before), "hrnn_trend", continue_epochs=0)
    assert not np.array_equal(renewed["mixture.weight"], first["mixture.weight"])
    forgotten = first["mixture.precision"] - renewed["mixture.precision"]
    assert forgotten.max() < 0.01 * first["mixture.precision"].max()


def test_a_step_without_an_epoch_leaves_no_state_of_an_optimiser(tmp_path: Path) -> None:
    before, later = data_at(tmp_path / "a", 0), data_at(tmp_path / "b", 3)
    renewed = build("hrnn", {**SMALL, "continue_epochs": 0})
    assert isinstance(renewed, GradientTrained)
    renewed.fit_with(before, 0, quiet, FitOptions())
    first = parent_of(renewed.tensors(), before)
    renewed.fit_with(later, 0, quiet, FitOptions(parent=first))
    assert not renewed.optimiser_tensors()
    parent = ParentWeights("p", renewed.tensors(), later.item_ids, renewed.optimiser_tensors())
    after = build("hrnn", SMALL)
    assert isinstance(after, GradientTrained)
    after.fit_with(later, 0, quiet, FitOptions(parent=parent))
    assert after.optimiser_tensors()


def test_where_too_few_of_the_latest_are_asked_nothing_is_kept_apart() -> None:
    targets = np.ones(400, np.bool_)
    learned = np.arange(400) < 300
    split = TargetSplit(learned, np.arange(300, 400), 7)
    few, enough = np.arange(400) % 3 == 0, np.arange(400) % 2 == 0
    assert np.array_equal(split.asking(targets, few).learned, targets)
    assert not len(split.asking(targets, few).validation)
    kept = split.asking(targets, enough)
    assert np.array_equal(kept.validation, np.arange(300, 400, 2))
    assert np.array_equal(kept.learned, learned)


def test_a_step_without_an_epoch_leaves_the_network_and_renews_what_is_counted(
    tmp_path: Path,
) -> None:
    earlier_walks = ring_walks(40, AS_OF_S - 2 * HOUR_S, 0, 9)
    walks = ring_walks(80, AS_OF_S + HOUR_S, 1, 12)
    later_walks = {f"later-{user}": events for user, events in walks.items()}
    before = read_dataset(write_dataset(tmp_path / "a", earlier_walks))
    later_as_of = str(Hour.parse(AS_OF) + 6)
    later = read_dataset(
        write_dataset(tmp_path / "b", earlier_walks | later_walks, as_of=later_as_of)
    )
    first = fitted(before, system="hrnn_trend")
    renewed = fitted(later, parent_of(first, before), "hrnn_trend", continue_epochs=0, anew_h=0)
    row_before = {item: row for row, item in enumerate(before.item_ids, start=1)}
    rows = [(row, row_before.get(item)) for row, item in enumerate(later.item_ids, start=1)]
    known = [(row, earlier) for row, earlier in rows if earlier is not None]
    assert 0 < len(known) < len(rows)
    for row, earlier in known:
        assert np.array_equal(renewed[ITEM_VECTORS][row], first[ITEM_VECTORS][earlier])
    assert renewed["trend.as_of"][0] == later.manifest.as_of.index
    # An item that the network never met is recommended for what came before it.
    model = build("hrnn_trend", {**SMALL, "continue_epochs": 0})
    model.load(renewed)
    histories = later.histories
    event = np.flatnonzero(histories.is_target)
    scores = model.score(histories, Requests.before(histories, event))
    listed = np.argsort(-scores, axis=1)[:, :3] + 1
    unmet = np.array([row for row, earlier in rows if earlier is None])
    targets = np.asarray(histories.item)[event]
    asked = np.isin(targets, unmet)
    assert asked.any()
    assert np.mean((listed[asked] == targets[asked][:, None]).any(axis=1)) > 0.5


def histories_with_repeats(folder: Path) -> DataSet:
    rng = np.random.default_rng(3)
    users = {
        f"u{user:02d}": [
            (f"i{rng.integers(3)}", AS_OF_S - 50_000 + 60.0 * step) for step in range(30)
        ]
        for user in range(20)
    }
    return read_dataset(write_dataset(folder, users))


def slow_repeats(histories: Histories) -> list[bool]:
    repeats = []
    for first, stop in zip(histories.offsets[:-1], histories.offsets[1:], strict=True):
        items = [int(item) for item in histories.item[first:stop]]
        repeats += [at > 0 and items[at - 1] == item for at, item in enumerate(items)]
    return repeats


def test_repeats_are_learned_from_but_never_asked(tmp_path: Path) -> None:
    data = histories_with_repeats(tmp_path / "d")
    repeats = np.array(slow_repeats(data.histories))
    assert np.array_equal(repeats_last(data.histories), repeats)
    is_target = data.histories.is_target
    assert (repeats & is_target).any()
    learned = {}
    for name, chosen in (
        ("neither", {}),
        ("learned", {"learn_repeats": True}),
        ("asked", {"repeats": True}),
    ):
        model = build("hrnn", {**SMALL, **chosen})
        assert isinstance(model, RecurrentModel)
        learned[name] = (model._learnable(data.histories), model._asked(data.histories))
    assert np.array_equal(learned["neither"], [is_target & ~repeats] * 2)
    assert np.array_equal(learned["learned"], [is_target, is_target & ~repeats])
    assert np.array_equal(learned["asked"], [is_target] * 2)


def test_what_says_when_to_stop_is_what_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = histories_with_repeats(tmp_path / "d")
    validated: list[np.ndarray] = []
    validation = RecurrentModel._validation

    def noting(self: RecurrentModel, histories: Histories, events: Any) -> float | None:
        validated.append(np.asarray(events))
        return validation(self, histories, events)

    monkeypatch.setattr(RecurrentModel, "_validation", noting)
    fitted(data, system="hrnn", learn_repeats=True, validation_share=0.3)
    assert validated
    assert validated[0].size
    assert not repeats_last(data.histories)[validated[0]].any()


def test_a_trend_model_goes_on_as_other_networks_are_told_to() -> None:
    parameters = build("hrnn_trend", {}).parameters
    assert {name: getattr(parameters, name) for name in ANEW_DAILY} == ANEW_DAILY


@pytest.mark.parametrize("name", ["anew_h", "continue_epochs"])
def test_hours_and_epochs_below_none_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"parameter {name} = -1 must be 0 or more"):
        build("hrnn", {name: -1})
