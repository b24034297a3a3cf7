"""The walk over the landing zone finds what globbing finds, and looks at each file once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.ingest.landing.listing import Glob, list_files

PARTS = st.sampled_from(["a", "b", "ab", "a.csv", "b.csv", "[x]", "A"])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
PATTERN_PARTS = st.sampled_from(["**", "*", "a", "a*", "*.csv", "?", "[ab]", "[!a]*", "[[]x]"])
PATTERNS = st.lists(PATTERN_PARTS, min_size=1, max_size=4).map("/".join)


@settings(deadline=None, max_examples=200)
@given(st.sets(PATHS, max_size=12), PATTERNS)
@example({"a/b/a.csv", "a/a.csv", "a.csv"}, "**/*.csv")
@example({"a/b/a.csv", "a/ab"}, "a/**/**/*")
def test_a_walk_finds_what_globbing_finds(
    tmp_path_factory: pytest.TempPathFactory, paths: set[str], pattern: str
) -> None:
    root = tmp_path_factory.mktemp("landing")
    for path in sorted(paths):
        file = root / path
        # A name is a file or a folder, whichever comes first.
        if not any(above.is_file() for above in file.parents) and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    files, refused = list_files(root, pattern)
    globbed = sorted(path for path in set(root.glob(pattern)) if path.is_file())
    assert [root / file.name for file in files] == globbed
    assert [Path(file.real) for file in files] == globbed
    assert not refused


def test_each_folder_and_each_file_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for nth in range(20):
        (tmp_path / f"hour{nth}").mkdir()
        (tmp_path / f"hour{nth}" / "a.csv").touch()
    (tmp_path / "work" / "lake").mkdir(parents=True)
    looks: dict[str, int] = {}
    scandir = os.scandir

    def counted(folder: Any) -> Any:
        looks[str(folder)] = looks.get(str(folder), 0) + 1
        return scandir(folder)

    def resolved(path: Path, *_: object, **__: object) -> Path:
        looks[f"resolved {path}"] = looks.get(f"resolved {path}", 0) + 1
        return path

    monkeypatch.setattr(os, "scandir", counted)
    monkeypatch.setattr(Path, "resolve", resolved)
    files, _ = list_files(tmp_path, "**/*.csv", [tmp_path / "work"])
    assert len(files) == 20
    # No folder of another program's, nor a path resolved that no link is on.
    expected = {str(tmp_path), *(str(tmp_path / f"hour{nth}") for nth in range(20))}
    assert looks == dict.fromkeys([*expected, f"resolved {tmp_path}"], 1)


@pytest.mark.parametrize("pattern", ["", ".", "/data/*", "../*.csv", "a/../*", "a**/*"])
def test_what_is_no_relative_glob_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"must|'\*\*' can only"):
        Glob(pattern)


def test_only_folders_that_may_hold_a_match_lead_on() -> None:
    glob = Glob("2016*/**/x/*.csv")
    inside = glob.below(glob.start, "2016-03")
    assert inside
    assert not glob.below(glob.start, "2017")
    assert not glob.matches(inside, "a.csv")
    assert glob.matches(glob.below(glob.below(inside, "y"), "x"), "a.csv")
