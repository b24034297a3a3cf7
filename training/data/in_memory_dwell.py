"""Dwell bins of a cut, as `pipeline.dataset.build` measures them."""

from __future__ import annotations

from bisect import bisect_left
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.manifest import DwellBins
from pipeline.dataset.write import Frame
from pipeline.sessions.dwell import Moments, merged, moments_of_us
from pipeline.settings.settings import DatasetSettings
from training.data.event_log import FlatLog, start_us


def bins_of(dwell_s: NDArray[np.float64], dwell: DwellBins) -> NDArray[np.int16]:
    """The bin of each dwell time (n,); 0 where it is not known."""
    if dwell.width_s <= 0:
        return np.zeros(len(dwell_s), np.int16)
    bins = np.floor(np.minimum(dwell_s / dwell.width_s, dwell.bins - 1)) + 1
    coded: NDArray[np.int16] = np.nan_to_num(bins).astype(np.int16)
    return coded


def dwell_bins(log: FlatLog, rules: DatasetSettings, frame: Frame) -> DwellBins:
    """Scott's bins of sessions that closed in the window, and of those that stand open."""
    stop_us = start_us(frame.as_of)
    first, stop = (
        bisect_left(log.dwell_hours, hour.start, key=itemgetter("hour"))
        for hour in (frame.window_start, frame.as_of)
    )
    still_open = (log.closes >= frame.as_of.index) & (log.next_us < stop_us)
    dwell_us = (log.next_us - log.time_us)[still_open]
    opened = [moments_of_us(dwell_us)] if len(dwell_us) else []
    moments: Moments = merged([*log.dwell_hours[first:stop], *opened])
    return DwellBins(
        n=moments.n,
        mean_s=moments.mean_s,
        m2_s2=moments.m2_s2,
        width_s=moments.scott_width_s,
        bins=rules.max_dwell_bins,
    )
