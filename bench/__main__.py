"""Measures this library's calls against bare grpcio, and its heartbeat streams against such as people write today."""

from __future__ import annotations

import argparse
import dataclasses
import random
import sys
import time
from pathlib import Path

from bench import comparison, report, variants
from bench.figure import Figure, Micro
from bench.harness import Row, Section
from bench.micro import MICROS, run_micro
from bench.streams import suite as streams
from bench.streams.run import QUICK as QUICK_STREAMS
from bench.streams.run import Effort as StreamsEffort
from bench.suite import SECTIONS, Effort, run_section

RESULTS = Path(__file__).parent / "results" / "latest.json"
QUICK = Effort(chunks=2, rounds=3, messages=3)
STREAMS = StreamsEffort()


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--chunks", type=int, default=40, help="chunks per section (40)")
    parser.add_argument("--rounds", type=int, default=100, help="rounds per chunk (100)")
    parser.add_argument("--messages", type=int, default=10, help="streamed messages timed at once (10)")
    parser.add_argument("--quick", action="store_true", help="a few calls only, to see that it works")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only what has TEXT in its name: 'client sync', 'micro', 'streams'"
    )
    parser.add_argument("--seed", type=int, help="of the order within rounds")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the results go (%(default)s)")
    arguments = parser.parse_args(argv)
    if min(arguments.chunks, arguments.rounds, arguments.messages) < 1:
        parser.error("--chunks, --rounds and --messages must be at least 1")
    if not any(_chosen(arguments.only)) and not _steps(arguments.only):
        names = ", ".join(map(str, [*SECTIONS, *MICROS, *streams.NAMES]))
        parser.error(f"nothing has {arguments.only!r} in its name: {names}")
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    effort = QUICK if arguments.quick else Effort(arguments.chunks, arguments.rounds, arguments.messages)
    for line in variants.missing():
        print(line, file=sys.stderr)
    started = time.monotonic()
    sections, micros = _chosen(arguments.only)
    progress = report.Progress(len(sections) * effort.chunks + len(micros) + _steps(arguments.only))
    rows = _run(sections, effort, random.Random(arguments.seed), progress)
    figures = _run_micros(micros, arguments.quick, progress)
    held: list[comparison.Comparison] = []
    if _steps(arguments.only):
        held = streams.measure(arguments.only, QUICK_STREAMS if arguments.quick else STREAMS, progress)
    progress.close()
    settings = {**dataclasses.asdict(effort), "seconds": round(time.monotonic() - started, 1)}
    report.write_json(arguments.json, rows, figures, held, settings)
    report.print_table(rows)
    report.print_figures(figures)
    if held:
        print(comparison.plain(held))
    made = f"{effort.chunks} chunks of {effort.rounds} rounds" if rows else "figures"
    print(f"\n{made} in {settings['seconds']} s; all in {arguments.json}")
    return 0


def _chosen(text: str) -> tuple[list[Section], list[Micro]]:
    return [section for section in SECTIONS if text in str(section)], [one for one in MICROS if text in str(one)]


def _steps(text: str) -> int:
    """Return how many steps of progress the streams take: none unless their names, from the first word on, are meant."""
    return streams.steps(text) if streams.NAMES[0].startswith(text.partition(" ")[0]) else 0


def _run(sections: list[Section], effort: Effort, order: random.Random, progress: report.Progress) -> list[Row]:
    rows: list[Row] = []
    for section in sections:
        progress.section(str(section))
        rows += run_section(section, effort, order, progress.step)
    return rows


def _run_micros(micros: list[Micro], quick: bool, progress: report.Progress) -> list[Figure]:
    figures: list[Figure] = []
    for micro in micros:
        progress.section(str(micro))
        figures += run_micro(micro, quick)
        progress.step()
    return figures


if __name__ == "__main__":
    sys.exit(main())
