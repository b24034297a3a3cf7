"""Records = accepted + duplicates + quarantined, on hundreds of files of every damage (P4)."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from fuzzed_logs import expected_accounts, expected_events, fuzzed, refused_of
from landing_place import COUNTS, Place

from pipeline.lake.tables import EVENTS, QUARANTINE
from pipeline.spark.compute import Compute

SEED = int(os.environ.get("HOURGLASS_TEST_SEED", "0"))
FILES = int(os.environ.get("HOURGLASS_TEST_FILES", "300"))
RUNS = 4


@pytest.mark.slow
@pytest.mark.usefixtures("as_commands_compute")
def test_nothing_of_hundreds_of_files_is_lost(tmp_path: Path, compute: Compute) -> None:
    place = Place(tmp_path, compute)
    logs = fuzzed(seed=SEED + 77, files=FILES)
    for run in range(RUNS):
        # The files of a run lie among those of the others by name, so events change hands.
        stop = (run + 1) * FILES // RUNS
        arrived, part = logs[:stop], logs[run * FILES // RUNS : stop]
        for log in part:
            log.put(place.landing)
        summary = place.ingest()
        assert summary.files == len(part)
        assert summary.unreadable == ()
        assert summary.records == sum(len(log.records) for log in part)
        assert place.accounts() == expected_accounts(arrived)
    assert place.events() == expected_events(logs)
    assert place.refused() == refused_of(logs)

    # What was committed, counted by what else is committed.
    owned = Counter(row["source_file"] for row in place.rows(EVENTS))
    refused = Counter(row["source_file"] for row in place.rows(QUARANTINE))
    for name, (records, accepted, duplicates, quarantined) in place.accounts().items():
        assert records == accepted + duplicates + quarantined
        assert (accepted, quarantined) == (owned[name], refused[name])
    sums = [sum(fate) for fate in zip(*place.accounts().values(), strict=True)]
    assert all(count > FILES / 3 for count in sums), dict(zip(COUNTS, sums, strict=True))
