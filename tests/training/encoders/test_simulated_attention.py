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
    after_a_day,
    fitted,
    hit_share,
    hit_share_of,
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
from training.nn.steps import Carried, Steps

SEEDS = (0, 1, 2)


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
    [("sasrec", ORDER), ("tisasrec", {**ORDER, "epochs": 15}), ("hstu", {**ORDER, "epochs": 15})],
)
def test_places_tell_the_order_whatever_the_seed(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    assert hits(ordered_pairs_log(tmp_path), is_answer, name, SEEDS, **options) > 0.8


# S7: forgetting by the clock.

FORGET = {"epochs": 15, "learning_rate": 0.02, "min_batches": 80}
GRU = {"name": "gru4rec", "plan": "windows", "max_len": 50}


def gates(model: Model, test: DataSet) -> tuple[Tensor, Tensor]:
    """Mean of g over units, and the interval of T-GRU, at each step of the test histories."""
    assert isinstance(model, RecurrentModel)
    encoder = model.trained_net().cell
    assert isinstance(encoder, TGru)
    calls: list[tuple[Steps, Carried]] = []
    hook = encoder.register_forward_pre_hook(lambda module, entering: calls.append(entering))
    hit_share(model, test, names_topic)
    hook.remove()
    steps, carried = calls[0]  # whole histories; single requests follow
    with torch.no_grad():
        states, _ = encoder(steps, carried)
        before = torch.cat([carried["state"][:, None], states[:, :-1]], dim=1)
        content = encoder.entry(steps.inputs).chunk(4, -1)[2] + encoder.back(before).chunk(3, -1)[2]
        interval_s = steps.elapsed_s
        if encoder.reads:
            interval_s = torch.cat([carried["elapsed_s"][:, None], interval_s[:, :-1]], dim=1)
        log_s = torch.log1p(interval_s)[..., None]
        delta = torch.tanh(log_s * encoder.interval_scale + encoder.interval_shift)
        pulled = delta * encoder.interval_pull + torch.tanh(content) * encoder.content_pull
        return torch.sigmoid(pulled + encoder.gate_shift).mean(-1), interval_s


def test_a_gate_of_time_forgets_a_topic(tmp_path: Path) -> None:
    base, test = logs = topics_log(tmp_path, "topic")
    options = {**FORGET, "min_batches": 20}
    model = fitted("t_gru", base, 0, **options)
    assert hit_share(model, test, names_topic) > hits(logs, names_topic, **GRU, **options) + 0.1
    gate, interval_s = gates(model, test)
    is_long, is_short = interval_s > HOUR_S, (interval_s > 0) & (interval_s <= HOUR_S)
    assert gate[is_long].mean() < 0.7 * gate[is_short].mean()


@pytest.mark.nightly
@pytest.mark.parametrize(("interval", "pause_before"), [("request", "topic"), ("read", "noise")])
def test_a_gate_of_time_forgets_a_topic_whatever_the_seed(
    tmp_path: Path, interval: str, pause_before: str
) -> None:
    base, test = logs = topics_log(tmp_path, pause_before)
    shares, open_for = [], []
    for seed in SEEDS:
        model = fitted("t_gru", base, seed, interval=interval, **FORGET)
        shares.append(hit_share(model, test, names_topic))
        gate, interval_s = gates(model, test)
        is_long, is_short = interval_s > HOUR_S, (interval_s > 0) & (interval_s <= HOUR_S)
        open_for.append([float(gate[is_long].mean()), float(gate[is_short].mean())])
    assert np.mean(shares) > hits(logs, names_topic, seeds=SEEDS, **GRU, **FORGET) + 0.1
    after_long, after_short = np.mean(open_for, axis=0)
    assert after_long < 0.5 * after_short


# S8: the same hour of the day before.

SLOTS = {"epochs": 15, "learning_rate": 0.01, "blocks": 1}
OFTEN = {"batch_events": 256, "min_batches": 100}


def test_intervals_tell_the_hour_of_the_day_before(tmp_path: Path) -> None:
    logs, options = slots_log(tmp_path), {**SLOTS, "epochs": 8}
    plain = hits(logs, is_habit, "sasrec", **options)
    assert hits(logs, is_habit, "sasrec", time="gate", **options) > plain + 0.2
    assert hits(logs, is_habit, "tisasrec", **{**SLOTS, "epochs": 5}) > plain + 0.2


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "with_time", "without"),
    [
        ("sasrec", {**OFTEN, "time": "gate"}, OFTEN),
        ("tisasrec", {}, {"intervals": 1}),
        ("hstu", {}, {"time_bias": False}),
    ],
)
def test_intervals_tell_the_hour_whatever_the_seed(
    tmp_path: Path, name: str, with_time: dict[str, Any], without: dict[str, Any]
) -> None:
    logs = slots_log(tmp_path)
    timed = hits(logs, is_habit, name, SEEDS, **SLOTS, **with_time)
    assert timed > hits(logs, is_habit, name, SEEDS, **SLOTS, **without) + 0.2


@pytest.mark.nightly
def test_the_hour_tells_a_memory_more_than_its_unit_can_count(tmp_path: Path) -> None:
    """A unit counts clicks at random where items tell them from habits, and needs no gate then."""
    base, test = slots_log(tmp_path, clicks_on_habits=True)
    shares = {}
    for gate in ("learned", "none"):
        options = {"epochs": 15, "learning_rate": 0.01, "hops": 1, "unit": "gru", **OFTEN}
        models = (fitted("mtam", base, seed, gate=gate, **options) for seed in SEEDS)
        shares[gate] = [hit_share_of(model, test, after_a_day(test)) for model in models]
    print(shares)
    assert np.mean(shares["learned"]) > np.mean(shares["none"]) + 0.2


# S9: one reading of the memory names what the next one looks for.

HOPS = {
    "epochs": 15,
    "learning_rate": 0.01,
    "batch_events": 512,
    "repeats": True,
    "memory": "states",
    "unit": "gru",
    "gate": "none",
    "norm": True,
}


def is_first_answer(n_keys: int) -> Callable[[str, int], bool]:
    """Answers after the first tell of one another."""
    return lambda item, length: length == 4 * n_keys + 1


def test_a_second_hop_reads_what_the_first_one_names(tmp_path: Path) -> None:
    logs = pairs_log(tmp_path, n_keys=5, n_users=800)
    options = {**HOPS, "learning_rate": 0.015, "min_batches": 30}
    once, twice = (hits(logs, is_first_answer(5), "mtam", hops=hops, **options) for hops in (1, 2))
    assert twice > once + 0.2


@pytest.mark.nightly
def test_a_second_hop_reads_whatever_the_seed(tmp_path: Path) -> None:
    logs = pairs_log(tmp_path, n_keys=6, n_users=1500)
    none, once, twice = (
        hits(logs, is_first_answer(6), "mtam", SEEDS, hops=hops, **HOPS) for hops in (0, 1, 2)
    )
    # A key's chain never comes back to it: 1 of 5 without the memory, 1 of 4 with its value.
    assert none < 0.3
    assert twice > once + 0.2
