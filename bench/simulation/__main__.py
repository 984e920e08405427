"""Runs simulated connections by the million, and prints what a beat costs, what a connection takes, and who was misjudged."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import comparison, report
from bench.orders import answer
from bench.simulation.run import apart, compare, simulate
from bench.simulation.setting import Outcome

RESULTS = Path(__file__).parents[1] / "results" / "simulation.json"
SIZES = (10_000, 100_000, 1_000_000)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.simulation", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of connections (%(default)s)")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the results go (%(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.one:
        answer(**asdict(simulate(arguments.one)))
        return 0
    progress = report.Progress(len(arguments.sizes))
    outcomes: list[Outcome] = []
    for size in arguments.sizes:
        progress.section(f"{size:,} connections")
        outcomes.append(apart(size))
        progress.step()
    progress.close()
    found = compare(outcomes)
    whole: dict[str, Any] = {"environment": report.environment(), "outcomes": [asdict(outcome) for outcome in outcomes]}
    comparison.write_json(arguments.json, found, **whole)
    print(comparison.plain(found))
    wrong = [line for outcome in outcomes for line in outcome.wrong]
    print("\nno wrong judgement" if not wrong else "\n".join(["\nwrong judgements:", *wrong]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
