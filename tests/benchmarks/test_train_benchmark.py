"""That what the training benchmark measures is what it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.train import main
from benchmarks.train_data import AS_OF, dataset
from pipeline.hours import HOUR_S
from training.data.reader import DataSet, read_dataset

US_PER_S = 1_000_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return read_dataset(dataset(tmp_path_factory.mktemp("data"), events=5000, items=300, seed=1))


def test_a_data_set_is_what_the_pipeline_would_freeze(data: DataSet) -> None:
    histories, rule = data.histories, data.manifest
    assert (len(histories.item), len(data.item_ids), len(histories.user_ids)) == (5000, 300, 200)
    assert histories.is_target.all()
    assert (data.item_events >= np.bincount(histories.item, minlength=301)[1:]).all()
    assert data.item_events.min() >= 1
    time_s = histories.time_us / US_PER_S
    assert time_s.max() < AS_OF.index * HOUR_S
    gap_s = np.diff(time_s)
    same_user = np.diff(histories.user_of_event) == 0
    goes_on = same_user & (gap_s < rule.gap_s)
    assert (gap_s[same_user] >= 0).all()
    assert np.array_equal(~histories.session_start[1:], goes_on)
    assert histories.session_start[0]
    assert 0.1 < histories.session_start.mean() < 0.4
    dwell_s = np.append(np.where(goes_on, gap_s, np.nan), np.nan)
    assert np.allclose(histories.dwell_s, dwell_s, atol=1e-3, equal_nan=True)
    known = ~np.isnan(dwell_s)
    assert ((histories.dwell_bin > 0) == known).all()
    # Few items have most of the events.
    assert np.sort(data.item_events)[-30:].sum() > 0.5 * data.item_events.sum()


def test_equal_arguments_give_the_same_data_set(data: DataSet, tmp_path: Path) -> None:
    again = dataset(tmp_path, events=5000, items=300, seed=1)
    assert (again / "manifest.json").read_text() == (data.folder / "manifest.json").read_text()
    assert dataset(tmp_path, events=5000, items=300, seed=1) == again


@pytest.mark.nightly
def test_the_command_prints_and_writes_what_it_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.json"
    arguments = ["--quick", "--parts", "padding", "--work", str(tmp_path), "--out", str(out)]
    assert main(arguments) == 0
    found = json.loads(out.read_text())
    assert found["asked"]["events"] == 20_000
    assert 0 <= found["padding"]["users"]["padding"] < 0.05
    assert found["padding"]["windows"]["targets"] < found["padding"]["users"]["targets"]
    assert "sessions" in capsys.readouterr().out
