"""Holds thousands of heartbeat streams, as people write them today and as this library does, and compares what they cost."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path

from bench import comparison, report
from bench.streams.run import QUICK, Effort
from bench.streams.suite import NAMES, measure, steps

RESULTS = Path(__file__).parents[1] / "results" / "streams.json"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    usual = Effort()
    parser = argparse.ArgumentParser(prog="python -m bench.streams", description=__doc__)
    parser.add_argument("--streams", type=int, default=usual.streams, help="held streams (%(default)s)")
    parser.add_argument(
        "--threaded",
        type=int,
        default=usual.threaded,
        help="held streams of designs with threads for each (%(default)s)",
    )
    parser.add_argument(
        "--apart", type=int, default=usual.apart, help="held streams with a connection each (%(default)s)"
    )
    parser.add_argument("--rate", type=float, default=usual.rate, help="beats a second, when paced (%(default)g)")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="of each measurement (%(default)g)")
    parser.add_argument(
        "--patience",
        type=float,
        default=usual.patience,
        help="seconds without an answer after which a design is given up (%(default)g)",
    )
    parser.add_argument("--quick", action="store_true", help="a few streams only, to see that it works")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help=f"only what has TEXT in its name: {', '.join(NAMES)}"
    )
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the results go (%(default)s)")
    arguments = parser.parse_args(argv)
    counts = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Effort)}
    if min(counts.values()) <= 0:
        parser.error(f"{', '.join(f'--{name}' for name in counts)} must be more than 0")
    if not any(arguments.only in name for name in NAMES):
        parser.error(f"nothing has {arguments.only!r} in its name: {', '.join(NAMES)}")
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    effort = QUICK
    if not arguments.quick:
        fields = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Effort)}
        effort = Effort(**fields)
    began = time.monotonic()
    progress = report.Progress(steps(arguments.only))
    found = measure(arguments.only, effort, progress)
    progress.close()
    settings = {**dataclasses.asdict(effort), "seconds_in_all": round(time.monotonic() - began, 1)}
    comparison.write_json(arguments.json, found, environment=report.environment(), settings=settings)
    print(comparison.plain(found))
    print(f"\nin {settings['seconds_in_all']} s; all in {arguments.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
