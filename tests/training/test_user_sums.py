"""Users who come back count once, however many looks they were in."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import START, at_hour, evidence

from pipeline.errors import HourglassError
from training.gate.decision_file import read_record, write_decision
from training.gate.gate import decide
from training.gate.sequential_test import Sums, sequential
from training.gate.user_sums import (
    FOLDER,
    UserSums,
    merge_user_sums,
    read_user_sums,
    write_user_sums,
)

TARGETS = st.lists(
    st.tuples(st.integers(0, 4), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    min_size=1,
    max_size=12,
)


def people(targets: list[tuple[int, float, float, float]], shift: int = 0) -> UserSums:
    """A look whose frozen part numbers the users its own way."""
    user, mine, live, floor = (np.array(column) for column in zip(*targets, strict=True))
    ids = np.roll(np.array([f"u{number}" for number in range(5)], dtype=object), shift)
    rows = (user + shift) % 5
    return UserSums.of(ids, rows.astype(np.int32), mine, live, {"floor": floor})


@given(st.lists(TARGETS, min_size=1, max_size=4))
def test_looks_are_added_up_by_the_name_of_the_user(looks: list[list]) -> None:
    found = merge_user_sums([people(look, shift) for shift, look in enumerate(looks)])
    flat = [target for look in looks for target in look]
    user, mine, live, floor = (np.array(column, float) for column in zip(*flat, strict=True))
    for role, other in (("champion", live), ("floor", floor)):
        wanted = Sums.of(mine, other, user.astype(np.int32))
        assert asdict(found.sums(role)) == pytest.approx(asdict(wanted), abs=1e-9)


def test_people_are_written_once_and_not_changed(tmp_path: Path) -> None:
    one = people([(1, 0.5, 0.2, 0.1), (3, 0.0, 1.0, 0.0), (1, 1.0, 0.0, 0.0)])
    name, sha256 = write_user_sums(one, tmp_path, "hour-model")
    assert write_user_sums(one, tmp_path, "hour-model") == (name, sha256)
    read = read_user_sums(tmp_path, name, sha256)
    assert read.ids.tolist() == ["u1", "u3"]
    np.testing.assert_array_equal(read.numbers, one.numbers)
    path = tmp_path / FOLDER / name
    assert path.stat().st_mode & 0o222 == 0
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(HourglassError, match="changed after it was written"):
        read_user_sums(tmp_path, name, sha256)
    path.unlink()
    with pytest.raises(HourglassError, match="gone"):
        read_user_sums(tmp_path, name, sha256)


def test_a_few_users_who_come_every_hour_prove_nothing() -> None:
    """Forty looks at the same ten users are ten users, not four hundred."""
    rng = np.random.default_rng(0)
    taste = np.array([0.1] * 6 + [-0.1] * 4)
    looks = [
        Sums.of_users(taste + rng.normal(0, 0.01, 10), np.full(10, 0.5), np.ones(10))
        for _ in range(40)
    ]
    whole = Sums.of_users(taste * 40, np.full(10, 20.0), np.full(10, 40.0))
    alone = sequential(looks, alpha=0.05, common_shock=0.0, scale=1.0)
    by_user = sequential(looks, alpha=0.05, common_shock=0.0, scale=1.0, user_sums=whole)
    assert alone.proven
    assert not by_user.proven
    assert by_user.users == 10


def named(folder: Path, hour: int) -> Path:
    """A decision on the same hundred users each hour."""
    case = at_hour(folder, hour, evidence(0.5, 0.45, 0.0, n_users=100, seed=hour))
    ids = np.array([f"user-{number}" for number in range(100)], dtype=object)
    return write_decision(decide(replace(case, user_ids=ids)), folder, f"t{hour}")


def test_a_decision_counts_people_over_all_its_looks(tmp_path: Path) -> None:
    contents = [read_record(named(tmp_path, hour)).content for hour in range(3)]
    assert [content["sequential"]["users"] for content in contents] == [100, 100, 100]
    assert [content["sequential"]["looks"] for content in contents] == [1, 2, 3]
    assert contents[0]["look"]["users"]["file"].startswith(f"{START}-hrnn-new-")


def test_people_that_are_gone_block(tmp_path: Path) -> None:
    name = read_record(named(tmp_path, 0)).content["look"]["users"]["file"]
    (tmp_path / FOLDER / name).unlink()
    assert read_record(named(tmp_path, 1)).content["reasons"] == ["earlier_evidence_damaged"]
