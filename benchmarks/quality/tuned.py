"""Systems and their parameters in each protocol.

Tuned parameters are those of `training/configs`.  They were chosen on the last part of the training
part; no parameter was chosen by what a test part said.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.quality.ranking import Entry
from pipeline.settings.learning import ModelSettings
from training.fit.model_configs import resolve

_NO_TIME = {"session_input": False, "delta_input": False, "dwell_input": False}
# Few enough to leave most items out, many enough for a quiet loss.
_NEGATIVES = {"movielens-100k": 512, "yoochoose": 1024}
_HRNN = {
    "yoochoose": "hrnn_yoochoose",
    "deskdrop": "hrnn_deskdrop",
    "wikipedia": "hrnn_wikipedia",
    "movielens-100k": "hrnn_movielens",
}


def shipped(name: str, file: str, **changes: Any) -> Entry:  # noqa: ANN401 - parameters
    """A model of `training/configs`, perhaps with some parameters changed."""
    model = resolve(ModelSettings(name=file, file=file))
    return Entry(name, model.system, {**model.parameters, **changes})


def popularity() -> list[Entry]:
    """All-time and recent popularity."""
    return [
        Entry("pop", "pop"),
        Entry("recent_pop 24 h", "recent_pop", {"k_h": 24}),
    ]


def neighbours(repeats: bool) -> list[Entry]:
    """Items that followed, and sessions alike."""
    return [
        Entry("item_knn", "item_knn", {"reach": 1, "repeats": repeats}),
        Entry("vsknn", "vsknn", {"repeats": repeats}),
    ]


def sampled() -> dict[str, list[Entry]]:
    """By log: the loss over draws, and over all items."""
    return {
        name: [
            shipped("hrnn sampled", _HRNN[name], negatives=negatives),
            shipped("hrnn dense", _HRNN[name], negatives=0),
        ]
        for name, negatives in _NEGATIVES.items()
    }


def timed() -> dict[str, list[Entry]]:
    """By log: HRNN, and the same network without its inputs of time."""
    logs = ("deskdrop", "wikipedia", "yoochoose")
    found = {name: [hrnn(name), without_time(hrnn(name))] for name in logs}
    found["deskdrop"].append(shipped("hrnn_trend", "hrnn_trend_deskdrop"))
    return found


def hrnn(log: str) -> Entry:
    """HRNN as tuned for a log."""
    return shipped("hrnn", _HRNN[log])


def without_time(entry: Entry) -> Entry:
    """The same network, told the items alone."""
    name = f"{entry.name} without time"
    return replace(entry, name=name, parameters={**entry.parameters, **_NO_TIME})


def yoochoose() -> list[Entry]:
    """What is compared from the train file to the test file."""
    return [
        shipped("hrnn_trend", "hrnn_trend_yoochoose"),
        hrnn("yoochoose"),
        shipped("gru4rec", "gru4rec_yoochoose"),
    ]


def cold() -> list[Entry]:
    """With metadata, and without."""
    return [
        shipped("hrnn_meta", "hrnn_meta_movielens"),
        shipped("hrnn_meta without items' metadata", "hrnn_meta_movielens", item_features=False),
    ]


def ratings() -> list[Entry]:
    """With the feedback of earlier events, and without; and what else predicts ratings."""
    return [
        shipped("hrnn_rating", "hrnn_rating_movielens"),
        shipped("hrnn_rating without feedback", "hrnn_rating_movielens", feedback_input=False),
        shipped("rrn", "rrn"),
        shipped("time_svd", "time_svd"),
        shipped("i_autorec", "i_autorec"),
        shipped("fm_rating", "fm_rating"),
        shipped("pmf_rating", "pmf_rating"),
    ]


def trends() -> list[Entry]:
    """With the item-trend decomposition, and without."""
    whole = {"validation_share": 0.0}
    return [
        shipped("hrnn_trend", "hrnn_trend", **whole),
        shipped("hrnn_trend without trend", "hrnn_trend", **whole, trend=False),
    ]
