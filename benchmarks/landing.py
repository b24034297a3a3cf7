"""Time one hour: from the landing of its file to published recommendations, step by step.

Run as ``python -m benchmarks.landing --raw <wikipedia.csv> --work <folder>``;
``benchmarks/README.md`` says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from benchmarks.landing_steps import Running, in_one_process, steps_of
from pipeline.hours import HOUR_S, Hour
from pipeline.sources.known_logs import WIKIPEDIA_EPOCH

_TIME = 2  # the column of a record's seconds


def main(arguments: list[str]) -> int:
    """Fill a lake with all hours but the last, once; then land that one and time what follows."""
    asked = _arguments(arguments)
    work = asked.work.resolve()
    hour, last = _parted(asked.raw, work)
    settings = _settings(work, asked)
    config = work / "hourglass.yaml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    base, place = work / "base", work / "run"
    if not (base / "model.json").is_file():
        shutil.rmtree(base, ignore_errors=True)
        shutil.rmtree(place, ignore_errors=True)
        (work / "landing" / last.name).unlink(missing_ok=True)
        _fill(settings, work, hour)
        shutil.copytree(place, base)
    told: dict[str, Any] = {"hour": str(hour), "load": os.getloadavg()[0]}
    for mode in asked.modes:
        # A lake knows where it lies: it is measured at one place and kept at another.
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(base, place)
        shutil.copy(last, work / "landing" / last.name)
        model = json.loads((base / "model.json").read_text("utf-8"))
        steps = steps_of(hour, model)
        if mode == "commands":
            found = [Running(config).command(name, line) for name, line in steps]
        else:
            found = in_one_process(config, steps)
        told[mode] = found
        _show(mode, found)
        (work / "landing" / last.name).unlink()
    if asked.out:
        asked.out.write_text(json.dumps(told, indent=1), encoding="utf-8")
    return 0


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.landing", description=__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="wikipedia.csv")
    parser.add_argument("--work", type=Path, required=True, help="folder for the lake")
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    parser.add_argument(
        "--modes", type=lambda text: text.split(","), default=["commands", "process"]
    )
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    return parser.parse_args(arguments)


def _parted(raw: Path, work: Path) -> tuple[Hour, Path]:
    """All but the last hour in the landing zone, the last beside it; and which hour that is."""
    header, *lines = raw.read_text(encoding="utf-8").splitlines()
    hours = [int(float(line.split(",")[_TIME])) // HOUR_S for line in lines]
    last = max(hours)
    landing = work / "landing"
    landing.mkdir(parents=True, exist_ok=True)
    if not (landing / "history.csv").is_file():
        kept = [line for line, hour in zip(lines, hours, strict=True) if hour < last]
        (landing / "history.csv").write_text("\n".join([header, *kept, ""]), encoding="utf-8")
    path = work / "last-hour.csv"
    new = [line for line, hour in zip(lines, hours, strict=True) if hour == last]
    path.write_text("\n".join([header, *new, ""]), encoding="utf-8")
    return Hour.parse(WIKIPEDIA_EPOCH) + last, path


def _settings(work: Path, asked: argparse.Namespace) -> dict[str, Any]:
    small = {
        "width": asked.width,
        "epochs": asked.epochs,
        "validation_share": 0.0,
        "device": "cpu",
        "repeats": True,
    }
    return {
        "work": str(work / "run"),
        "source": {"name": "wikipedia", "path": str(work / "landing")},
        "dataset": {"window": "21d", "history": "7d", "popularity_window": "168h"},
        "evaluation": {"horizon": "1h", "repeats": "keep"},
        "candidate": "hrnn_trend",
        "models": [
            {"system": "recent_pop"},
            {"name": "hrnn_trend", "system": "hrnn_trend", "parameters": small},
        ],
    }


def _fill(settings: dict[str, Any], work: Path, hour: Hour) -> None:
    """The lake of all hours before, and a live network that was trained an hour ago."""
    first = work / "first.yaml"
    # The floor becomes the first champion, whatever it is.
    first.write_text(yaml.safe_dump({**settings, "gate": {"baseline": "hrnn_trend"}}), "utf-8")
    run = Running(first)
    run.command("backfill", ["backfill"])
    run.command("validate", ["validate", "--from", WIKIPEDIA_EPOCH, "--to", str(hour)])
    made = run.command("dataset", ["dataset", "--as-of", str(hour - 1)])
    run.command("train the floor", ["train", "--model", "recent_pop"])
    trained = run.command("train", ["train", "--model", "hrnn_trend"])
    run.command("evaluate", ["evaluate"])
    run.command("gate", ["gate"])
    facts = {"dataset": made["said"]["dataset_id"], "model": trained["said"]["model_id"]}
    (work / "run" / "model.json").write_text(json.dumps(facts), encoding="utf-8")


def _show(mode: str, found: list[dict[str, Any]]) -> None:
    print(f"\n{mode}: seconds (and seconds of CPU)")
    for step in found:
        print(f"  {step['step']:<18}{step['wall_s']:>8.1f}{step['cpu_s']:>8.1f}  {step['note']}")
    wall, cpu = (sum(step[name] for step in found) for name in ("wall_s", "cpu_s"))
    print(f"  {'together':<18}{wall:>8.1f}{cpu:>8.1f}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
