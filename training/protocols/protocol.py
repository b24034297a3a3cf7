"""A protocol's file: data, preparation, split, questions, models, and the published figures."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from pipeline.errors import UsageError, suggest
from pipeline.hours import HOUR_S
from pipeline.settings.folders import path_option
from pipeline.settings.yaml_text import read_yaml
from training.metrics.metrics import Metric as RankMetric
from training.protocols.split_rules import Count, Share, Split, Strict

_SHIPPED = resources.files("training.protocols") / "published"
_SUFFIX = ".yaml"

# By the name in a file: the name in a table, and the metric of `training.metrics.metrics`.
RANK_METRICS: dict[str, tuple[str, RankMetric]] = {
    "recall": ("Recall", "recall"),
    "hit_rate": ("HR", "recall"),
    "mrr": ("MRR", "mrr"),
    "map": ("mAP", "mrr"),
    "ndcg": ("NDCG", "ndcg"),
}
# Without a cut-off.
WHOLE_METRICS: dict[str, tuple[str, RankMetric]] = {
    "mrr_all": ("MRR", "mrr"),
    "ndcg_all": ("NDCG", "ndcg"),
}
PERPLEXITY = "PPL"
SPEED = "items/s"
RMSE = "RMSE"
Metric = Literal[
    "recall", "hit_rate", "mrr", "map", "ndcg", "mrr_all", "ndcg_all", "set_recall",
    "set_precision", "perplexity", "coverage", "gini", "items_per_s", "rmse",
]  # fmt: skip


# What can be measured of some targets.
_METRICS_OF = {
    "cold_list": {"mrr_all", "set_precision", "ndcg"},
    "query_list": {"ndcg_all"},
    "rating": {"rmse"},
}
# Splits that go with targets of one kind only.
_TARGETS_OF = {
    "half_given": "list",
    "cold_items": "cold_list",
    "flagged_queries": "query_list",
}
_LISTS = set(_TARGETS_OF.values())


class Preparation(Strict):
    """What is left of a log, rule after rule in the order of these fields.

    ``gap_s``: silence that begins a session; null: a user's history is one session, as where the
    log names sessions and no users.  ``latest_share``: of the sessions, by their ends.
    ``drop_repeats``: events on the item of the event before, in its session.  Then the least number
    of events of an item and of a session, of sessions of a user, of events of a user: ``once``, or
    again and again up to the ``fixed_point`` that no rule changes.  ``last_events``: of each user.
    ``window_events``: histories are cut into windows of so many events, ``window_step`` (half of
    it) apart; each is a sequence of its own, and what two of them hold is asked once.
    """

    gap_s: Count | None = HOUR_S
    latest_share: Share | None = None
    drop_repeats: bool = False
    min_item_events: Count = 1
    min_session_events: Count = 1
    min_user_sessions: Count = 1
    min_user_events: Count = 1
    order: Literal["once", "fixed_point"] = "once"
    last_events: Count | None = None
    window_events: Annotated[int, Field(ge=2)] | None = None
    window_step: Count | None = None

    @model_validator(mode="after")
    def _windows_touch(self) -> Preparation:
        if self.window_step and self.window_step > (self.window_events or 0):
            raise ValueError("window_step is more than window_events: events would be lost")
        return self

    def __str__(self) -> str:
        """The rules that differ from what is usual, like ``min_item_events 20``."""
        rules = self.model_dump(exclude_defaults=True)
        shown = (f"{n} {'null' if rule is None else rule}" for n, rule in rules.items())
        return ", ".join(shown) or "none"

    @property
    def step(self) -> int:
        """From one window to the next; 0 without windows."""
        return self.window_step or -(-(self.window_events or 0) // 2)


class Questions(Strict):
    """What is asked of the tested histories.

    ``targets``: every ``next`` event but a history's first; those ``within_session``; the ``last``
    of each history; or one ``list`` a user of all that follows, or, with the split cold_items, of
    the items that were held out, or, with flagged_queries, one a query; or the ``rating`` of every
    event.  ``repeats``: whether an event
    on the item of the event before is a target.  ``next_n``: N of set_recall, the next so many
    events of the sequence.
    """

    targets: Literal["next", "within_session", "last", "list", "cold_list", "query_list", "rating"]
    repeats: Literal["keep", "drop"]
    k: tuple[Count, ...] = ()
    next_n: tuple[Count, ...] = ()
    metrics: tuple[Metric, ...]

    def columns(self) -> Iterator[tuple[str, str, int, int]]:
        """Columns of the table: name, metric, K (0 = none) and N (0 = none)."""
        for metric in self.metrics:
            if metric in RANK_METRICS:
                yield from ((f"{RANK_METRICS[metric][0]}@{k}", metric, k, 0) for k in self.k)
            elif metric == "set_recall" and self.targets != "list":
                for k in self.k:
                    yield from ((f"Recall@{k},N={n}", metric, k, n) for n in self.next_n)
            elif metric in ("set_recall", "set_precision"):
                title = "Recall" if metric == "set_recall" else "Precision"
                yield from ((f"{title}@{k}", metric, k, 0) for k in self.k)
            elif metric in ("coverage", "gini"):
                yield from ((f"{metric}@{k}", metric, k, 0) for k in self.k)
            elif metric in WHOLE_METRICS:
                yield WHOLE_METRICS[metric][0], metric, 0, 0
            else:
                title = {"perplexity": PERPLEXITY, "rmse": RMSE}.get(metric, SPEED)
                yield title, metric, 0, 0

    @model_validator(mode="after")
    def _columns_are_whole(self) -> Questions:
        ranked = {*RANK_METRICS, *WHOLE_METRICS, "perplexity"} & set(self.metrics)
        if self.targets == "list" and ranked:
            raise ValueError(f"a list has no {sorted(ranked)[0]}: use set_recall or set_precision")
        for targets, possible in _METRICS_OF.items():
            others = set(self.metrics) - possible
            if self.targets == targets and others:
                raise ValueError(
                    f"a {targets} has no {sorted(others)[0]}: use {' or '.join(sorted(possible))}"
                )
        if self.targets != "rating" and "rmse" in self.metrics:
            raise ValueError("rmse is of targets: rating")
        if self.targets not in ("list", "cold_list") and "set_precision" in self.metrics:
            raise ValueError("set_precision is of targets: list or cold_list")
        if self.targets != "list" and "set_recall" in self.metrics and not self.next_n:
            raise ValueError("set_recall needs next_n")
        cut = {*RANK_METRICS, "set_recall", "set_precision", "coverage", "gini"}
        if cut & set(self.metrics) and not self.k:
            raise ValueError("a metric of lists needs k")
        return self


class Data(Strict):
    """A log that the protocol runs on, and what was published of it.

    ``format``: one of `training.protocols.raw_files.FORMATS`, or `own` with all that follows.
    ``files``: globs of whole paths instead of the format's.  ``columns``, ``separator``,
    ``header``, ``time``: instead of the format's.  ``event_types``: only these; none: all.
    ``items``: one of `training.protocols.metadata.ITEM_FORMATS`, a file beside the events' that
    says what items are; none: nothing is known of them.  ``item_files``: globs of whole paths
    instead of that format's.  ``words``: of a search log, so many of the most frequent words are
    told of queries and products; null: all.  ``preparation``, ``split``: instead of the protocol's.
    ``published``: model -> metric -> figure.  ``curve``: where the paper shows figures without
    numbers.
    """

    format: str
    files: tuple[str, ...] = ()
    columns: dict[str, str | int] | None = None
    separator: str | None = None
    header: bool | None = None
    time: Literal["seconds", "iso"] | None = None
    event_types: tuple[str, ...] = ()
    items: str | None = None
    item_files: tuple[str, ...] = ()
    words: Count | None = None
    preparation: Preparation | None = None
    split: Split | None = None
    published: dict[str, dict[str, float]] = Field(default_factory=dict)
    curve: str = ""


class ModelEntry(Strict):
    """A row of the table: a model type and its parameters."""

    type: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class Protocol(Strict):
    """A file of ``training/protocols/published``, or one's own."""

    id: str
    paper: str
    title: str
    data: Annotated[dict[str, Data], Field(min_length=1)]
    preparation: Preparation = Preparation()
    split: Split
    questions: Questions
    models: dict[str, ModelEntry]
    notes: str = ""

    @model_validator(mode="after")
    def _parts_agree(self) -> Protocol:
        targets = self.questions.targets
        for split in (self.split, *(data.split for data in self.data.values() if data.split)):
            of_split = _TARGETS_OF.get(split.kind)
            if (of_split or targets) != targets or (not of_split and targets in _LISTS):
                kind = next((k for k, name in _TARGETS_OF.items() if name == targets), split.kind)
                raise ValueError(f"targets: {_TARGETS_OF[kind]} and the split {kind} go together")
        names = {name for name, *_ in self.questions.columns()}
        for data in self.data.values():
            for model, figures in data.published.items():
                for name in figures:
                    if name not in names:
                        raise ValueError(
                            f"{model} is published with {name}, which is not asked: "
                            f"{', '.join(sorted(names))} are"
                        )
        return self

    def preparation_of(self, data: Data) -> Preparation:
        """Of one of the logs."""
        return data.preparation or self.preparation

    def split_of(self, data: Data) -> Split:
        """Of one of the logs."""
        return data.split or self.split


def shipped() -> dict[str, str]:
    """Names of the files of ``training/protocols/published`` by their protocols' ids."""
    names = (entry.name for entry in _SHIPPED.iterdir() if entry.name.endswith(_SUFFIX))
    ids = sorted(
        (name.removesuffix(_SUFFIX).upper() for name in names),
        key=lambda name: (int("".join(filter(str.isdigit, name))), name),
    )
    return {name: f"{name.lower()}{_SUFFIX}" for name in ids}


def read_protocol(name: str) -> Protocol:
    """A shipped protocol by its id, or one's own by the path of its file.

    Raises:
        UsageError: there is none, or the file says something else than a protocol.
    """
    if "/" in name or name.endswith((_SUFFIX, ".yml")):
        path = path_option(name)
        try:
            return _parsed(str(path), path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: cannot read the protocol: {error}") from error
    files = shipped()
    if name.upper() not in files:
        raise UsageError(
            f"no protocol {name!r}{suggest(name, files)}: use one of {', '.join(files)}, or the "
            "path of a YAML file"
        )
    file = files[name.upper()]
    return _parsed(file, (_SHIPPED / file).read_text("utf-8"))


def _parsed(where: str, text: str) -> Protocol:
    try:
        return Protocol.model_validate(read_yaml(text, where))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"])
        message = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        raise UsageError(f"{where}: {key or 'protocol'}: {message}") from error
