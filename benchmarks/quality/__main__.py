"""How good the systems are, by protocol: tables, and with --out every figure as JSON.

python -m benchmarks.quality yoochoose --raw FOLDER --seeds 0,1,2 --out F
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.quality.progress import to_stderr
from benchmarks.quality.protocols import PROTOCOLS, Asked
from pipeline.errors import HourglassError


def main(arguments: list[str]) -> int:
    """Run a protocol; 2 where it cannot be."""
    given = _arguments(arguments)
    names = list(PROTOCOLS) if given.protocol == "all" else [given.protocol]
    results = []
    try:
        for name in names:
            tables = PROTOCOLS[name](Asked(given.raw, given.seeds, to_stderr(), given.logs))
            for table in tables:
                print(f"{table}\n", flush=True)
            results += [{"protocol": name, **table.said} for table in tables]
    except HourglassError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.out:
        given.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.quality", description=__doc__)
    parser.add_argument("protocol", choices=[*PROTOCOLS, "all"])
    parser.add_argument("--raw", type=Path, default=Path(), help="folder of the raw logs' folders")
    parser.add_argument("--seeds", type=_seeds, default=[0, 1, 2], help="like 0,1,2")
    parser.add_argument(
        "--logs", type=_names, default=[], help="of `sampled` and `time`, only these"
    )
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    return parser.parse_args(arguments)


def _names(text: str) -> list[str]:
    return text.split(",")


def _seeds(text: str) -> list[int]:
    seeds = [int(part) for part in text.split(",")]
    if len(set(seeds)) != len(seeds):
        raise argparse.ArgumentTypeError(f"{text}: a seed is given twice")
    return seeds


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
