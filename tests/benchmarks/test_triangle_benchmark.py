"""The benchmark of all prefixes at once runs, and compares like with like."""

from __future__ import annotations

import json

import pytest

from benchmarks.triangle import main


@pytest.mark.nightly
@pytest.mark.parametrize("query", ["own", "last"])
def test_it_prints_the_machine_the_sizes_and_the_ratio(
    query: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--lengths", "3,9", "--rows", "2", "--width", "8", "--repeats", "1"]
    assert main([*sizes, "--query", query]) == 0
    machine, *lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert machine["threads"] == 1
    assert machine["cpu"]
    assert [(line["rows"], line["length"], line["query"]) for line in lines] == [
        (2, 3, query),
        (2, 9, query),
    ]
    for line in lines:
        assert line["at_once_events_per_s"] > 0
        assert line["one_by_one_events_per_s"] > 0
        assert line["ratio"] > 0
