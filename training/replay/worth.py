"""Whether an arm's fit is worth it: signs of `training.fit.retrain_policy`, from cuts in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.hours import Hour
from pipeline.settings.settings import RetrainSettings
from training.data.in_memory import Cut
from training.fit.retrain_policy import Signs, popularity_shift, unseen_share, worth_retraining
from training.replay.arms import ArmState


def worth_by_signs(rule: RetrainSettings, seed: int) -> Callable[[ArmState, Cut], bool]:
    """What `hourglass stale` would say of an arm, the development of its figures apart."""

    def worth_it(state: ArmState, cut: Cut) -> bool:
        return worth_retraining(signs_of(state, cut, seed), rule).retrain

    return worth_it


def signs_of(state: ArmState, cut: Cut, seed: int) -> Signs:
    """The signs of a model at the time of a cut, as far as the cut's items tell them."""
    as_of, window_h = cut.data.manifest.as_of, cut.data.manifest.popularity_window_h

    def events(first: Hour, stop: Hour) -> dict[str, int]:
        popularity = cut.data.popularity
        within = (popularity.hour_index >= first.index) & (popularity.hour_index < stop.index)
        counts = np.bincount(
            popularity.item[within] - 1,
            weights=popularity.events[within],
            minlength=len(cut.terms.items),
        )
        return {str(item): int(count) for item, count in enumerate(counts) if count}

    known = np.flatnonzero(np.isin(cut.terms.items, state.terms.items))
    return Signs(
        age_h=as_of.index - state.as_of.index,
        unseen_share=unseen_share(
            events(max(state.as_of, as_of - window_h), as_of), {str(item) for item in known}
        ),
        shift=popularity_shift(
            events(state.as_of - window_h, state.as_of), events(as_of - window_h, as_of), seed
        ),
        metric_drop=None,
    )
