"""Attention, memories and gates of time on logs that are made for them; each beside its like.

What a mechanism brings is the difference to the same file without it, in hits at 1 on users that
were not learned from.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from simulated_attention import (
    HOUR_S,
    fitted,
    hit_share,
    ordered_pairs_log,
    pairs_log,
    slots_log,
    topics_log,
)
from torch import Tensor

from training.data.reader import DataSet
from training.models.parts.base import Model
from training.models.parts.recurrent import RecurrentModel
from training.models.recurrent.t_gru import TGru

SEEDS = (0, 1, 2)
GRU = ("gru4rec", {"plan": "windows", "max_len": 50})


def hits(
    logs: tuple[DataSet, DataSet],
    is_asked: Callable[[str, int], bool],
    name: str,
    seeds: tuple[int, ...] = (0,),
    **parameters: Any,
) -> float:
    base, test = logs
    shares = [hit_share(fitted(name, base, seed, **parameters), test, is_asked) for seed in seeds]
    return float(np.mean(shares))


def is_answer(item: str, length: int) -> bool:
    return item.startswith("a")


def names_topic(item: str, length: int) -> bool:
    return item.startswith("t")


def is_habit(item: str, length: int) -> bool:
    return item.startswith("h") and length >= 12  # not of the first day, which is a guess


# S3: the order of two items.

ORDER = {"epochs": 5, "learning_rate": 0.01, "blocks": 1}


def test_places_tell_the_order_of_two_items(tmp_path: Path) -> None:
    assert hits(ordered_pairs_log(tmp_path), is_answer, "sasrec", **ORDER) > 0.8


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "options"),
    [("sasrec", ORDER), ("tisasrec", {**ORDER, "epochs": 8}), ("hstu", {**ORDER, "epochs": 8})],
)
def test_places_tell_the_order_whatever_the_seed(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    assert hits(ordered_pairs_log(tmp_path), is_answer, name, SEEDS, **options) > 0.8


# S7: forgetting by the clock.

FORGET = {"epochs": 12, "learning_rate": 0.01}


def gates(model: Model, test: DataSet) -> tuple[Tensor, Tensor]:
    """Mean of g over units, and the interval, at each step of the test users' histories."""
    assert isinstance(model, RecurrentModel)
    encoder = model.trained_net().cell
    assert isinstance(encoder, TGru)
    entered = []
    hook = encoder.register_forward_pre_hook(lambda module, given_to: entered.append(given_to))
    hit_share(model, test, names_topic)
    hook.remove()
    steps, carried = next(each for each in entered if each[0].inputs.shape[1] > 1)
    with torch.no_grad():
        states, _ = encoder(steps, carried)
        before = torch.cat([carried["state"][:, None], states[:, :-1]], dim=1)
        rho = torch.tanh((encoder.entry(steps.inputs)[..., 64:96]) + encoder.back(before)[..., 64:])
        delta = torch.tanh(
            torch.log1p(steps.elapsed_s)[..., None] * encoder.interval_scale
            + encoder.interval_shift
        )
        pulled = delta * encoder.interval_pull + rho * encoder.content_pull
        return torch.sigmoid(pulled + encoder.gate_shift).mean(-1), steps.elapsed_s


def test_a_gate_of_time_forgets_a_topic(tmp_path: Path) -> None:
    base, test = logs = topics_log(tmp_path, "topic")
    model = fitted("t_gru", base, 0, **FORGET)
    plain = hits(logs, names_topic, GRU[0], **GRU[1], **FORGET)
    assert hit_share(model, test, names_topic) > plain + 0.1
    gate, interval_s = gates(model, test)
    print("gate", float(gate[interval_s > HOUR_S].mean()), float(gate[(interval_s>0)&(interval_s <= HOUR_S)].mean()))


@pytest.mark.nightly
@pytest.mark.parametrize(("interval", "pause_before"), [("request", "topic"), ("read", "noise")])
def test_a_gate_of_time_forgets_a_topic_whatever_the_seed(
    tmp_path: Path, interval: str, pause_before: str
) -> None:
    logs = topics_log(tmp_path, pause_before)
    timed = hits(logs, names_topic, "t_gru", SEEDS, interval=interval, **FORGET)
    assert timed > hits(logs, names_topic, GRU[0], SEEDS, **GRU[1], **FORGET) + 0.1


# S8: the same hour of the day before.

SLOTS = {"epochs": 15, "learning_rate": 0.01, "blocks": 1}


def test_intervals_tell_the_hour_of_the_day_before(tmp_path: Path) -> None:
    logs = slots_log(tmp_path)
    plain = hits(logs, is_habit, "sasrec", **SLOTS)
    assert hits(logs, is_habit, "sasrec", time="gate", **SLOTS) > plain + 0.2
    assert hits(logs, is_habit, "tisasrec", **{**SLOTS, "epochs": 8}) > plain + 0.2


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "with_time", "without"),
    [
        ("sasrec", {**SLOTS, "time": "gate"}, SLOTS),
        ("tisasrec", SLOTS, {**SLOTS, "intervals": 1}),
        ("hstu", SLOTS, {**SLOTS, "time_bias": False}),
        ("mtam", {**SLOTS, "hops": 1}, {**SLOTS, "hops": 1, "gate": "none"}),
        ("narm", {"attention": "time"}, {"attention": "dot"}),
    ],
)
def test_intervals_tell_the_hour_whatever_the_seed(
    tmp_path: Path, name: str, with_time: dict[str, Any], without: dict[str, Any]
) -> None:
    logs = slots_log(tmp_path)
    timed = hits(logs, is_habit, name, SEEDS, **with_time)
    assert timed > hits(logs, is_habit, name, SEEDS, **without) + 0.2
