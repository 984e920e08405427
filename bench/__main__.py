"""Measures this library against bare grpcio, with an official no-op interceptor and OpenTelemetry's for comparison."""

from __future__ import annotations

import argparse
import dataclasses
import random
import sys
import time
from pathlib import Path

from bench import report, variants
from bench.harness import Row, Section
from bench.suite import SECTIONS, Effort, run_section

RESULTS = Path(__file__).parent / "results" / "latest.json"
QUICK = Effort(rounds=3, warm_up=1, calls=5, messages=5)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="rounds per section (60)")
    parser.add_argument("--calls", type=int, default=50, help="unary calls per batch (50)")
    parser.add_argument("--messages", type=int, default=200, help="streamed messages per batch (200)")
    parser.add_argument("--quick", action="store_true", help="a few calls only, to see that it works")
    parser.add_argument("--only", default="", metavar="TEXT", help="only sections with TEXT, such as 'client sync'")
    parser.add_argument("--seed", type=int, help="of the order within rounds")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the results go (%(default)s)")
    arguments = parser.parse_args(argv)
    if min(arguments.rounds, arguments.calls, arguments.messages) < 1:
        parser.error("--rounds, --calls and --messages must be at least 1")
    if not _chosen(arguments.only):
        parser.error(f"no section has {arguments.only!r} in its name: {', '.join(map(str, SECTIONS))}")
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    effort = QUICK if arguments.quick else Effort(arguments.rounds, 3, arguments.calls, arguments.messages)
    for line in variants.missing():
        print(line, file=sys.stderr)
    started = time.monotonic()
    rows = _run(_chosen(arguments.only), effort, random.Random(arguments.seed))
    settings = {**dataclasses.asdict(effort), "seconds": round(time.monotonic() - started, 1)}
    report.write_json(arguments.json, rows, settings)
    report.print_table(rows)
    print(f"\n{effort.rounds} rounds in {settings['seconds']} s; all figures in {arguments.json}")
    return 0


def _chosen(text: str) -> list[Section]:
    return [section for section in SECTIONS if text in str(section)]


def _run(sections: list[Section], effort: Effort, order: random.Random) -> list[Row]:
    progress = report.Progress(len(sections) * effort.rounds)
    rows: list[Row] = []
    for section in sections:
        progress.section(str(section))
        rows += run_section(section, effort, order, progress.step)
    progress.close()
    return rows


if __name__ == "__main__":
    sys.exit(main())
