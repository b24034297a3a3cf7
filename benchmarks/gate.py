"""The gate put to the test: false promotions, power, and poisoned candidates.

python -m benchmarks.gate aa --raw FOLDER        equal models over weeks of 168 hourly looks
python -m benchmarks.gate power --raw FOLDER     a true lift: how often and how soon it is seen
python -m benchmarks.gate lasting                 luck that lasts for hours or comes every day
python -m benchmarks.gate poison                 real artefacts, broken one by one, through the gate
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import HourglassError
from pipeline.settings.learning import GateSettings


def main(arguments: list[str]) -> int:
    """Run one of the four; 2 where it cannot be."""
    given = _arguments(arguments)
    run = {"poison": _poison, "lasting": _lasting}.get(given.what, _weeks)
    try:
        found = run(given)
    except HourglassError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _weeks(given: argparse.Namespace) -> list[dict[str, Any]]:
    from benchmarks.gate_weeks import by_hour_of_day, real_hours, summary, traffic, week

    gate = GateSettings(hour_swing=given.swing)
    found = []
    for pair in given.pairs.split(","):
        hours = real_hours(given.raw, given.log, pair, given.share)
        print(f"{given.log}, {pair}: {traffic(hours)}", flush=True)
        same = by_hour_of_day(hours)
        lifts = [0.0] if given.what == "aa" else [float(x) for x in given.lifts.split(",")]
        for lift in lifts:
            for swap in ("user", "hour"):
                rng = np.random.default_rng(given.seed)
                weeks = [week(same, rng, gate, swap, lift) for _ in range(given.weeks)]
                said = summary(weeks)
                found.append({"pair": pair, "swap": swap, "lift": lift, **said})
                _show(said, f"lift {lift:.0%}, labels swapped by {swap}", given.what == "aa")
    return found


def _show(said: dict[str, dict[str, Any]], title: str, naive_too: bool) -> None:
    print(title)
    for name, one in said.items():
        if name != "sequential" and not naive_too:
            continue
        looks = "" if one["median_looks"] is None else f", median look {one['median_looks']:.0f}"
        print(
            f"  {name:<11} {one['promoted']:>5} of {one['weeks']} weeks promote: "
            f"{one['share']:.1%} [{one['lower']:.1%}, {one['upper']:.1%}]{looks}",
            flush=True,
        )


def _lasting(given: argparse.Namespace) -> list[dict[str, Any]]:
    from benchmarks.gate_lasting import LUCKS, lasting

    lifts = [float(x) for x in given.lifts.split(",")]
    cases = [(luck, 0.0) for luck in LUCKS] + [("none", x) for x in lifts]
    cases += [("ar 0.8", x) for x in lifts]
    found = []
    for day_swing in (0.0, GateSettings().day_swing):
        gate = GateSettings(hour_swing=given.swing, day_swing=day_swing)
        for users in (100, 400, 4000):
            for luck, gain in cases:
                one = lasting(luck, users, gain, gate, given.weeks, given.seed)
                found.append(one)
                looks = "" if one["median_looks"] is None else f" at {one['median_looks']:.0f}"
                print(
                    f"day_swing {day_swing:.0%}, {users:>4} users, {luck:<10} gain {gain:.0%}: "
                    f"{one['share']:.1%} [{one['lower']:.1%}, {one['upper']:.1%}]{looks}",
                    flush=True,
                )
    return found


def _poison(given: argparse.Namespace) -> list[dict[str, Any]]:
    from benchmarks.gate_poison import poisoned

    if given.work is not None:
        given.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        found = poisoned(Path(work))
    for row in found:
        print(f"{row['candidate']:<38}{row['outcome']:<9}{row['reason']}")
    return found


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.gate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=["aa", "power", "lasting", "poison"])
    parser.add_argument("--raw", type=Path, default=Path(), help="folder of the raw logs' folders")
    parser.add_argument("--log", default="yoochoose", choices=["yoochoose", "wikipedia"])
    parser.add_argument("--pairs", default="seeds", help="seeds, systems, or both by comma")
    parser.add_argument("--share", type=float, default=0.4, help="of the log that is learned from")
    parser.add_argument("--weeks", type=int, default=1000)
    parser.add_argument("--lifts", default="0.05", help="relative, of MRR@20; several by comma")
    parser.add_argument("--swing", type=float, default=GateSettings().hour_swing)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder for the artefacts of `poison`")
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
