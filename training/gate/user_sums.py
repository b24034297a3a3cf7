"""What each user added to a look, kept in a file beside the decision.

Users come back hour after hour, and one who is better served by a model is so each time.  Adding up
a user's looks first keeps such a user from counting as many.  Shapes: ``U`` users.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.array_types import Floats, Ints32, Objects
from pipeline.errors import HourglassError
from pipeline.files import written_whole
from training.gate.roles import CHAMPION
from training.gate.sequential_test import Sums

FOLDER = "users"  # in the folder of the decisions
_USER_ID, _TARGETS = "user_id", "n"


@dataclass(frozen=True)
class UserSums:
    """By user: targets, and against champion and baselines the sums that `Sums` calls d and c."""

    ids: Objects  # (U,)
    names: tuple[str, ...]  # of the columns: n, then d and c of champion and each baseline
    numbers: Floats  # (U, len(names))

    @classmethod
    def of(
        cls,
        user_ids: Objects,
        user: Ints32,
        candidate: Floats,
        champion: Floats | None,
        baselines: Mapping[str, Floats],
    ) -> UserSums:
        """Add up what models scored at the same targets, (n,) each, by the target's user.

        Args:
            user_ids: of all rows of the frozen part.
            user: (n,) row of each target's user.
            candidate: what each target added to the metric.
            champion: the same; None counts as the first baseline.
            baselines: the same, by what records call them.
        """
        rows, user_row = np.unique(user, return_inverse=True)
        live = next(iter(baselines.values())) if champion is None else champion
        columns = {_TARGETS: np.ones(user.size)}
        for role, other in {CHAMPION: live, **baselines}.items():
            columns |= {f"{role}_d": candidate - other, f"{role}_c": other}
        numbers = np.zeros((rows.size, len(columns)))
        for at, column in enumerate(columns.values()):
            numbers[:, at] = np.bincount(user_row, column, minlength=rows.size)
        return cls(user_ids[rows], tuple(columns), numbers)

    def sums(self, role: str) -> Sums:
        """The sums against the champion or a baseline, by what records call it."""
        n = self.numbers[:, 0]
        d = self.numbers[:, self.names.index(f"{role}_d")]
        c = self.numbers[:, self.names.index(f"{role}_c")]
        return Sums.of_users(d, c, n)


def merge_user_sums(looks: Sequence[UserSums]) -> UserSums:
    """Looks added up user by user.

    Raises:
        HourglassError: they are against other models.
    """
    names = looks[0].names
    if any(look.names != names for look in looks):
        raise HourglassError("looks at comparisons with other models do not count together")
    ids, user_row = np.unique(
        np.concatenate([look.ids for look in looks]).astype(str), return_inverse=True
    )
    rows = np.concatenate([look.numbers for look in looks])
    totals = np.zeros((ids.size, len(names)))
    np.add.at(totals, user_row, rows)
    return UserSums(ids.astype(object), names, totals)


def write_user_sums(user_sums: UserSums, decisions: Path, prefix: str) -> tuple[str, str]:
    """Write the file, read-only, unless it is there; returns its name and SHA-256."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = dict(zip(user_sums.names, user_sums.numbers.T, strict=True))
    sink = io.BytesIO()
    pq.write_table(pa.table({_USER_ID: user_sums.ids.astype(str), **columns}), sink)
    data = sink.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    path = decisions / FOLDER / f"{prefix}-{sha256[:12]}.parquet"
    if not path.exists():

        def write(target: Path) -> None:
            target.write_bytes(data)
            target.chmod(0o444)

        written_whole(path, write)
    return path.name, sha256


def read_user_sums(decisions: Path, name: str, sha256: str) -> UserSums:
    """Read what :func:`write_user_sums` wrote.

    Raises:
        HourglassError: the file is gone or was changed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = decisions / FOLDER / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HourglassError(
            f"{FOLDER}/{name}: gone, though a decision counted it: put it back, or wait for the "
            "next period"
        ) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise HourglassError(f"{FOLDER}/{name}: changed after it was written: judge its hour again")
    table = pq.read_table(pa.BufferReader(data))
    names = tuple(name for name in table.column_names if name != _USER_ID)
    numbers = np.stack([table[name].to_numpy() for name in names], axis=1)
    return UserSums(table[_USER_ID].to_numpy(zero_copy_only=False).astype(object), names, numbers)
