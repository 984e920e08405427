"""Prints how long faults of a server go unnoticed, and how long it takes until all is well again."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path

from bench import comparison, report
from bench.detection.run import FAULTS, Times, compare, try_fault

RESULTS = Path(__file__).parents[1] / "results" / "detection.json"


def main(argv: list[str] | None = None) -> int:
    names = ", ".join(fault.name for fault in FAULTS)
    parser = argparse.ArgumentParser(prog="python -m bench.detection", description=__doc__)
    parser.add_argument("--times", type=int, default=10, help="repetitions of each fault (%(default)s)")
    parser.add_argument("--only", default="", metavar="TEXT", help=f"only faults with TEXT in their names: {names}")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the results go (%(default)s)")
    arguments = parser.parse_args(argv)
    chosen = [(fault, stack) for fault in FAULTS for stack in fault.stacks if arguments.only in fault.name]
    if not chosen or arguments.times < 1:
        parser.error(f"--times must be at least 1, and --only part of a name: {names}")
    began = time.monotonic()
    progress = report.Progress(len(chosen) * arguments.times)
    found: list[comparison.Comparison] = []
    raw: list[dict[str, object]] = []
    for fault, stack in chosen:
        times = Times()
        progress.section(f"{fault.name}, server {stack}")
        for _ in range(arguments.times):
            try_fault(fault, stack, times)
            progress.step()
        found += compare(fault, stack, times)
        raw.append({"fault": fault.name, "server": stack, **dataclasses.asdict(times)})
    progress.close()
    comparison.write_json(arguments.json, found, environment=report.environment(), times=raw)
    print(comparison.plain(found))
    print(f"\n{arguments.times} times each, in {time.monotonic() - began:.0f} s; all in {arguments.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
