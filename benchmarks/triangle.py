"""What it saves to compute all prefixes of a session at once (ASARS 2.3).

python -m benchmarks.triangle --lengths 50,200 --rows 32

ASARS time_att, forward and backward, one thread: every prefix computed anew from its first event,
prefixes of equal length together, beside one pass whose states are those of all prefixes.  Both
give the same states.  The two take turns in one process; a figure is the median of its runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.train import machine
from training.models.attention.asars import Asars, AsarsParameters
from training.nn.steps import Sizes, Steps

_DWELL_BINS = 16


def sessions(rows: int, length: int, width: int) -> Steps:
    """Random sessions of equal length."""
    rng = torch.Generator().manual_seed(0)
    begins = torch.zeros(rows, length, dtype=torch.bool)
    begins[:, 0] = True
    seconds = torch.arange(length).expand(rows, length) * 60.0
    return Steps(
        inputs=torch.randn(rows, length, width, generator=rng),
        time_s=seconds,
        elapsed_s=torch.full((rows, length), 60.0),
        dwell=torch.randint(0, _DWELL_BINS + 1, (rows, length), generator=rng),
        session_start=begins,
        begins=begins,
        has_event=~begins,
        user=torch.zeros(rows, length, 0),
        width=width,
    )


def at_once(encoder: Asars, steps: Steps) -> Tensor:
    """States of all prefixes, (B, T, D), in one pass."""
    states: Tensor = encoder(steps)
    return states


def one_by_one(encoder: Asars, steps: Steps) -> Tensor:
    """The same, each prefix as a batch of its own; its last state is kept."""
    states = []
    for stop in range(1, steps.inputs.shape[1] + 1):
        tensors = {name: x[:, :stop] for name, x in vars(steps).items() if name != "width"}
        prefix = Steps(**tensors, width=steps.width)
        states.append(encoder(prefix)[:, -1])
    return torch.stack(states, dim=1)


def seconds_of(
    states_of: Callable[[Asars, Steps], Tensor], encoder: Asars, steps: Steps, gradient: Tensor
) -> float:
    """Of one forward and one backward pass."""
    encoder.zero_grad()
    begun = time.perf_counter()
    states_of(encoder, steps).backward(gradient)
    return time.perf_counter() - begun


def compared(
    rows: int, length: int, width: int, query: str, repeats: int
) -> dict[str, float | int | str]:
    """Events a second of both, and how many times as fast the one pass is."""
    torch.manual_seed(0)
    chosen = AsarsParameters(width=width, query=query)
    encoder = Asars(Sizes(inputs=width, width=width, dwell_bins=_DWELL_BINS), chosen)
    steps = sessions(rows, length, width)
    gradient = torch.randn(rows, length, width)
    torch.testing.assert_close(
        at_once(encoder, steps), one_by_one(encoder, steps), rtol=0.0, atol=1e-5
    )
    runs: dict[str, list[float]] = {"at_once": [], "one_by_one": []}
    for _ in range(repeats):
        for name, states_of in (("at_once", at_once), ("one_by_one", one_by_one)):
            runs[name].append(seconds_of(states_of, encoder, steps, gradient))
    median = {name: statistics.median(values) for name, values in runs.items()}
    return {
        "query": query,
        "rows": rows,
        "length": length,
        "width": width,
        "hidden": chosen.hidden,
        **{f"{name}_events_per_s": round(rows * length / s) for name, s in median.items()},
        "ratio": round(median["one_by_one"] / median["at_once"], 1),
    }


def main(arguments: list[str]) -> int:
    """Print the machine, and one line of JSON for each length."""
    parser = argparse.ArgumentParser(prog="benchmarks.triangle", description=__doc__)
    parser.add_argument(
        "--lengths", type=lambda text: [int(n) for n in text.split(",")], default=[50, 200]
    )
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--query", choices=("own", "last"), default="own")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(json.dumps({**machine(), "threads": 1}), flush=True)
    for length in asked.lengths:
        line = compared(asked.rows, length, asked.width, asked.query, asked.repeats)
        print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
