"""What the benchmark of neighbours prints is what ranking by them gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.neighbours import compared, entries
from benchmarks.quality.protocols import parts_of_log
from benchmarks.quality.ranking import fitted, rule
from training.metrics.ranking import rank_targets


def test_figures_and_differences_are_of_the_same_targets(datasets_dir: Path) -> None:
    chosen = rule("drop")
    lines = list(compared(datasets_dir, "deskdrop", chosen, repeats=False))
    assert len(lines) == len(entries(False))
    parts = parts_of_log(datasets_dir, "deskdrop")
    hits = []
    for line, entry in zip(lines, entries(False), strict=True):
        ranks = rank_targets(
            fitted(entry, parts.train, 0),
            parts.test,
            chosen,
            model_id="m",
            item_ids=parts.test.item_ids,
        )
        hits.append(float(np.mean(ranks.rank <= 20)))
        assert line.startswith(f"{entry.name:<22}{hits[-1]:.4f}")
    assert "[" not in lines[0], "compared with itself"
    for line, value in zip(lines[1:], hits[1:], strict=True):
        assert f"{value - hits[0]:+.4f} [" in line
