"""The folder of a run: what each arm came to at each step, whole files only.

``<work>/replay/<run id>/arms/<digest of the arm>/<hour>.parquet`` holds a row a target with its
rank, and in its metadata what the step cost.  Beside it lies what the arm had learned by then: even
an arm that is always fitted anew keeps its model where a window is empty.  A step names the file
that it stands on, so that a run which was killed goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.array_types import Bools, Ints, Ints32
from pipeline.dataset.as_known.delays import Delays
from pipeline.dataset.rows.encoding import Encoding
from pipeline.dataset.rows.event_log import FlatLog
from pipeline.errors import HourglassError
from pipeline.files import write_text, written_whole
from pipeline.hours import Hour
from pipeline.process import locks
from training.replay.arms import Arm, ArmState, loaded

COLUMNS: dict[str, type[Any]] = {
    "user": np.int32,
    "time_us": np.int64,
    "item": np.int32,
    "known": np.bool_,
    "item_age_us": np.int64,
    "rank": np.int32,
}
_OPTIMISER = "optimiser:"


@dataclass(frozen=True)
class StepRanks:
    """The targets of one step and their ranks by one arm; users and items are the log's codes."""

    user: Ints32  # (n,)
    time_us: Ints  # (n,)
    item: Ints32  # (n,)
    known: Bools  # (n,) whether the item was seen before the step
    item_age_us: Ints  # (n,) since its first event, which may be the target itself
    rank: Ints32  # (n,) 1-based


@dataclass(frozen=True)
class StepResult:
    """What one arm came to at one step."""

    ranks: StepRanks
    facts: dict[str, Any]


def step_path(folder: Path, hour: Hour) -> Path:
    """Where the result of a step lies in the folder of an arm."""
    return folder / f"{hour}.parquet"


def write_step(folder: Path, hour: Hour, result: StepResult) -> None:
    """Write the result of a step, whole or not at all."""
    table = pa.table({name: getattr(result.ranks, name) for name in COLUMNS})
    table = table.replace_schema_metadata({"facts": json.dumps(result.facts)})
    written_whole(
        step_path(folder, hour), lambda path: pq.write_table(table, path, compression="zstd")
    )


def read_step(folder: Path, hour: Hour) -> StepResult:
    """Read what `write_step` wrote.

    Raises:
        HourglassError: the file is missing or damaged.
    """
    path = step_path(folder, hour)
    try:
        table = pq.read_table(path)
        facts = json.loads(table.schema.metadata[b"facts"])
        columns: dict[str, Any] = {
            name: table[name].to_numpy().astype(kind, copy=False) for name, kind in COLUMNS.items()
        }
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowInvalid) as error:
        raise HourglassError(
            f"{path}: the step cannot be read: run `hourglass replay --fresh`"
        ) from error
    return StepResult(StepRanks(**columns), facts)


def write_delays(folder: Path, delays: Delays) -> None:
    """Note beside the arms how much of the log came late."""
    write_text(folder / "delays.json", json.dumps(vars(delays), indent=1) + "\n")


def read_delays(folder: Path) -> Delays | None:
    """What `write_delays` wrote; None where the run does not know."""
    path = folder / "delays.json"
    return Delays(**json.loads(path.read_text("utf-8"))) if path.is_file() else None


def state_name(state: ArmState) -> str:
    """The file of what an arm had learned by the time of its fit."""
    return f"{state.as_of}.safetensors"


def write_state(folder: Path, state: ArmState, log: FlatLog) -> None:
    """Write what an arm has learned, whole or not at all."""
    from safetensors.numpy import save_file

    optimiser = {_OPTIMISER + key: value for key, value in (state.optimiser or {}).items()}
    tensors = {k: np.asarray(v, order="C") for k, v in {**state.tensors, **optimiser}.items()}
    metadata = {
        "terms": json.dumps(state.encoding.to_json(log)),
        "facts": json.dumps({"as_of": str(state.as_of), "fits": state.fits}),
    }
    written_whole(folder / state_name(state), lambda path: save_file(tensors, path, metadata))


def read_state(folder: Path, name: str, arm: Arm, log: FlatLog) -> ArmState:
    """Read what `write_state` wrote.

    Raises:
        HourglassError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / name, "np") as file:
            metadata = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        facts = json.loads(metadata["facts"])
        terms = Encoding.from_json(json.loads(metadata["terms"]), log)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise HourglassError(
            f"{folder / name}: the weights cannot be read: run `hourglass replay --fresh`"
        ) from error
    start = len(_OPTIMISER)
    optimiser = {k[start:]: v for k, v in tensors.items() if k.startswith(_OPTIMISER)}
    own = {k: v for k, v in tensors.items() if not k.startswith(_OPTIMISER)}
    model = arm.first_model if facts["fits"] == 1 else arm.model
    return ArmState(
        loaded(model, own), own, optimiser or None, terms, Hour.parse(facts["as_of"]), facts["fits"]
    )


def tidy(folder: Path, needed: str) -> None:
    """Remove the weights that no later step needs, and what a killed process left half-done."""
    for path in (*folder.glob("*.safetensors"), *folder.glob(".*")):
        if path.name != needed:
            path.unlink(missing_ok=True)


@contextmanager
def run_lock(folder: Path, wait_s: float, print_line: Callable[[str], None]) -> Iterator[None]:
    """Be the only process at a run; the system frees it even when the process is killed.

    Raises:
        HourglassError: another process still works at it after ``wait_s``.
    """

    def busy(holder: str) -> str:
        return f"another process ({holder}) runs the replay {folder.name}"

    def waiting(sentence: str) -> None:
        print_line(f"waiting: {sentence} ...")

    with locks.locked(folder / "holder", locks.this_process(), wait_s, busy, waiting):
        yield


def newest_picture(replays: Path) -> Path | None:
    """The picture of the replay that ended last in a folder of runs; None where there is none."""
    pictures = list(replays.glob("*/curve.png"))
    return max(pictures, key=lambda path: path.stat().st_mtime_ns) if pictures else None
