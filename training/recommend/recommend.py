"""Recommend: the live model's best items for every user, as a table and as a file.

u users, K places, V items of the model, M items of the catalogue: the model's, then others that are
popular.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.array_types import Ints, Ints32
from pipeline.errors import HourglassError
from pipeline.hours import US_PER_S, Hour, parse_duration_h
from pipeline.lake.commits import STEP_PROPERTY
from pipeline.lake.lake import Lake, State
from pipeline.lake.tables import ITEMS
from pipeline.lake.turns import Alone
from pipeline.settings.section import keys_as_before
from pipeline.settings.settings import Settings
from training.data.reader import DataSet, Histories, Requests, read_dataset
from training.evaluation.evaluate import with_current_popularity
from training.recommend.knobs.item_facts import FACT_COLUMNS, first_events, item_facts
from training.recommend.knobs.lists import Knobs, model_pools
from training.recommend.popularity import (
    Catalogue,
    Popular,
    PopularInContext,
    contexts_of,
    counted,
    events_in_context,
    popular_overall,
    recent,
)
from training.recommend.publish import (
    publication,
    published_for_others,
    was_explored,
    write_summary,
)
from training.recommend.rows import (
    MODEL,
    NOTHING,
    POPULARITY,
    RankedItems,
    Stamp,
    gathered,
    rows_of,
)
from training.recommend.rules import excluded_items, seen_pairs
from training.recommend.stopwatch import Stopwatch
from training.recommend.top_k import Exclusions, best_items, first_allowed
from training.recommend.users import RequestedUsers
from training.registry.artefact import LoadedModel, load_model
from training.registry.mlflow_registry import LiveModel

_USERS_PER_GROUP = 1 << 14  # rows of so many users are written at once


@dataclass(frozen=True)
class Recommended:
    """What was published; ``rows`` and ``users`` are of this run."""

    users: int
    rows: int
    path: Path
    new_users: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def users_per_s(self) -> float:
        """From the histories to the published file."""
        return self.users / max(1e-9, sum(self.seconds.values()))


@dataclass(frozen=True)
class _Run:
    """What all blocks of users share; of the lake the state that the last finished step left."""

    lake: Lake
    state: State
    settings: Settings
    model: LoadedModel
    data: DataSet
    at: datetime
    catalogue: Catalogue
    overall: Popular
    stamp: Stamp
    knobs: Knobs | None  # None: all are off


def recommend(
    settings: Settings,
    lake: Lake,
    live: LiveModel,
    dataset: Path,
    as_of: Hour | datetime,
    report: Callable[[int, int], None],
    requested: RequestedUsers | None = None,
    alone: Alone = nullcontext,
) -> Recommended:
    """Publish the top K of every user with a history in ``dataset``, or of those asked for.

    ``dataset`` was made from the model's own data set as of the start of the hour, so their items
    agree.  Silences are counted up to ``as_of``, which may lie within the hour.  Publishing the
    hour again replaces it; for users who are asked for, it replaces theirs alone.

    Of users without a known event, and where the rules leave fewer than K of the model's items,
    popularity decides: see `training.recommend.popularity`.

    Only one process may recommend at a time.  ``alone`` takes the lake's lock, which is held as
    they are published; by default the caller holds it.

    Raises:
        HourglassError: the model or the histories are damaged, or the model knows later hours.
    """
    at = as_of.start if isinstance(as_of, Hour) else as_of
    hour = Hour.of(at)
    watch = Stopwatch()
    with watch("read"):
        data = read_dataset(dataset)
        model = with_current_popularity(load_model(live.folder), data)
    if model.card.as_of > hour:
        raise HourglassError(
            f"{live.model_id} was trained as of {model.card.as_of}, after {hour}: "
            "recommend for a later hour"
        )
    with watch("rules"):
        run = _prepare(settings, lake, live, model, data, at)
        everyone = np.arange(len(data.histories.user_ids), dtype=np.int64)
        places, new = (
            (everyone, np.empty(0, np.int64))
            if requested is None
            else _with_and_without_history(data, requested)
        )
    users = len(places) + len(new)
    folder = settings.path("recommendations") / str(hour)
    with watch("publish"):
        asked_ids = None if requested is None else pa.array(requested.user_ids, pa.string())
        stays = None if asked_ids is None else published_for_others(lake, hour, asked_ids)
        explores = settings.recommend.exploration > 0 or (stays is not None and was_explored(stays))
    with publication(lake, hour, folder, alone, explores) as unpublished:
        if stays is not None:
            with watch("publish"):
                unpublished.add(stays)
        others, done = unpublished.rows, 0
        item_ids = pa.array(run.catalogue.item_ids, pa.string())
        blocks = chain(_of_model(run, places, requested), _of_popularity(run, requested, new))
        for block in watch.each("score", gathered(blocks, _USERS_PER_GROUP)):
            with watch("write"):
                unpublished.add(rows_of(block, item_ids, run.stamp))
            done += len(block.user_ids)
            report(done, users)
        with watch("publish"):
            path = unpublished.publish(
                {STEP_PROPERTY: "recommend", "hourglass.model": live.model_id}
            )
    result = Recommended(users, unpublished.rows - others, path, len(new), watch.seconds)
    write_summary(folder, _summary(settings, live, at, result, others_kept=others > 0))
    return result


def last_context(histories: Histories, block: Ints) -> Ints32:
    """The context (n, C) in which each user was last seen: a user's next request is most like it.

    A field that the last event does not tell stays unknown.
    """
    context = np.zeros((len(block), histories.context.shape[1]), np.int32)
    (with_history,) = np.nonzero(histories.lengths[block] > 0)
    context[with_history] = histories.context[histories.offsets[block[with_history] + 1] - 1]
    return context


def _prepare(
    settings: Settings, lake: Lake, live: LiveModel, model: LoadedModel, data: DataSet, at: datetime
) -> _Run:
    rules = settings.recommend
    hours = recent(Hour.of(at), parse_duration_h(rules.popular_hours))
    state = lake.state()
    counts = counted(lake, state, hours)
    vocabulary = set(model.item_ids.tolist())
    others = [item_id for item_id in counts["item_id"].to_pylist() if item_id not in vocabulary]
    item_ids = np.concatenate([model.item_ids, np.array(others, object)])
    catalogue = Catalogue(item_ids, excluded_items(lake, state, rules, item_ids, at))
    support = np.zeros(len(item_ids), np.int64)
    support[: len(data.item_events)] = data.item_events
    overall = popular_overall(catalogue, counts, support)
    stamp = Stamp(live.model_id, live.version, at)
    knobs = None
    if rules.has_knobs:
        metadata = lake.arrow(ITEMS, columns=FACT_COLUMNS)
        first_us = np.full(len(item_ids), np.nan)
        first_us[: len(model.item_ids)] = first_events(data.histories, len(model.item_ids))
        facts = item_facts(rules, metadata, item_ids, catalogue.events_of(counts), first_us)
        knobs = Knobs(rules, facts, overall, Hour.of(at))
    return _Run(lake, state, settings, model, data, at, catalogue, overall, stamp, knobs)


def _with_and_without_history(data: DataSet, requested: RequestedUsers) -> tuple[Ints, Ints]:
    """Places in the histories of those who have one, ascending; rows of the file of the others."""
    import pandas as pd

    position = pd.Index(data.histories.user_ids).get_indexer(pd.Index(requested.user_ids))
    has_history = (position >= 0) & (data.histories.lengths[position] > 0)
    return np.sort(position[has_history]).astype(np.int64), np.flatnonzero(~has_history)


def _of_model(run: _Run, places: Ints, requested: RequestedUsers | None) -> Iterator[RankedItems]:
    """Blocks of users whose histories stand at ``places``."""
    if not len(places):
        return
    histories, requests = run.data.histories, _requests(run, places, requested)
    rules, n_items = run.settings.recommend, len(run.model.item_ids)
    repeats = run.settings.evaluation.repeats == "keep"
    row, column = seen_pairs(histories, requests, rules, repeats, run.data.manifest.gap_s)
    shared = run.catalogue.excluded[run.catalogue.excluded < n_items]
    barred = Exclusions(shared, row, column)
    if run.knobs is not None:
        pools = model_pools(run.knobs, run.model.model, histories, requests, barred, n_items)
        for rows, pool in pools:
            block = run.knobs.lists(pool, histories.user_ids[places[rows]], MODEL)
            yield _filled(run, block, barred.of(rows))
        return
    for rows, items, scores in best_items(
        run.model.model, histories, requests, rules.k, barred, n_items
    ):
        block = RankedItems.of_model(histories.user_ids[places[rows]], items, scores, rules.k)
        yield _filled(run, block, barred.of(rows))


def _filled(run: _Run, block: RankedItems, excluded: Exclusions) -> RankedItems:
    """Give the places that the model left empty to what is popular and not barred."""
    (short,) = np.nonzero((block.source == NOTHING).any(axis=1))
    if not len(short):
        return block
    k, n_items = block.item.shape[1], len(run.catalogue.item_ids)
    theirs = excluded.of(short)
    if run.knobs is not None and run.knobs.by_category is not None:
        return run.knobs.filled(block, short, theirs)
    which, rank = np.nonzero(block.source[short] != NOTHING)
    row = np.concatenate([theirs.row, which])
    column = np.concatenate([theirs.column, block.item[short[which], rank]])
    reach = k + int(np.bincount(row).max(initial=0))
    popular = run.overall.order[:reach]
    _, position = first_allowed(popular, row, column, len(short), k, n_items)
    if not len(popular):
        return block
    item = np.where(position >= 0, popular[position], -1)
    return block.followed_by(short, item, run.overall.count[position])


def _requests(run: _Run, places: Ints, requested: RequestedUsers | None) -> Requests:
    """The coming request of each user, in the context that the file tells or the last event had."""
    histories = run.data.histories
    context = last_context(histories, places)
    if requested is not None and requested.context:
        import pandas as pd

        row = pd.Index(requested.user_ids).get_indexer(pd.Index(histories.user_ids[places]))
        for number, context_field in enumerate(histories.context_fields):
            if context_field.name in requested.context:
                values = requested.context[context_field.name][row]
                code = pd.Index(context_field.values).get_indexer(pd.Index(values)) + 1
                context[:, number] = np.where(pd.isna(values), context[:, number], code)
    now_us = np.full(len(places), round(run.at.timestamp() * US_PER_S), np.int64)
    return Requests(places, histories.lengths[places], now_us, context)


def _of_popularity(run: _Run, requested: RequestedUsers | None, new: Ints) -> Iterator[RankedItems]:
    """Blocks of new users; ``new`` are their rows among those who are asked for."""
    if requested is None or not len(new):
        return
    rules = run.settings.recommend
    hours = recent(Hour.of(run.at), parse_duration_h(rules.popular_hours))
    fields = list(requested.context)
    n_best = rules.k if run.knobs is None else rules.n_candidates
    popular = PopularInContext(
        run.catalogue,
        run.overall,
        fields,
        rules.min_context_events,
        n_best,
        lambda: events_in_context(run.lake, run.state, hours, run.catalogue, fields),
    )
    which, contexts = contexts_of(requested.context, new)
    best = [popular.best(context) for context in contexts]
    item = np.full((len(best), n_best), -1, np.int64)
    score = np.zeros((len(best), n_best), np.float32)
    for row, (items, counts) in enumerate(best):
        item[row, : len(items)], score[row, : len(items)] = items, counts
    if run.knobs is not None:
        pools = run.knobs.popular_pools(item, score)
        for first in range(0, len(new), _USERS_PER_GROUP):
            span = slice(first, first + _USERS_PER_GROUP)
            user_ids = requested.user_ids[new[span]]
            block = run.knobs.lists(pools.take(which[span]), user_ids, POPULARITY)
            nothing = np.empty(0, np.int64)
            yield _filled(run, block, Exclusions(nothing, nothing, nothing))
        return
    source = np.where(item >= 0, POPULARITY, NOTHING).astype(np.int8)
    for first in range(0, len(new), _USERS_PER_GROUP):
        span = slice(first, first + _USERS_PER_GROUP)
        rows = which[span]
        yield RankedItems(requested.user_ids[new[span]], item[rows], score[rows], source[rows])


def _summary(
    settings: Settings, live: LiveModel, at: datetime, done: Recommended, others_kept: bool
) -> dict[str, Any]:
    return {
        "as_of": at.isoformat(),
        "hour": str(Hour.of(at)),
        "model_id": live.model_id,
        "version": live.version,
        "users": done.users,
        "new_users": done.new_users,
        "rows": done.rows,
        "others_kept": others_kept,
        "users_per_s": round(done.users_per_s, 1),
        "seconds": {name: round(seconds, 3) for name, seconds in done.seconds.items()},
        "rules": settings.recommend.model_dump(
            mode="json", exclude=keys_as_before(settings.recommend)
        ),
    }
