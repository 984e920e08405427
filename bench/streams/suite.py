"""All that is measured about held streams, by name."""

from __future__ import annotations

from bench.comparison import Comparison
from bench.report import Progress
from bench.streams import scheduler
from bench.streams.run import DESIGNS, SECTIONS, Effort, run_section

NAMES = (scheduler.SECTION, *map(str, SECTIONS))


def measure(only: str, effort: Effort, progress: Progress) -> list[Comparison]:
    """Measure what has ``only`` in its name."""
    found: list[Comparison] = []
    if only in scheduler.SECTION:
        progress.section(scheduler.SECTION)
        found += scheduler.compare(effort.streams, effort.rate, effort.seconds / 2)
        progress.step()
    for section in SECTIONS:
        if only in str(section):
            progress.section(str(section))
            found += run_section(section, effort, progress.step)
    return found


def steps(only: str) -> int:
    """Return how many steps of progress there will be."""
    return (only in scheduler.SECTION) + len(DESIGNS) * sum(only in str(section) for section in SECTIONS)
