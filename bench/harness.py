"""Paired, interleaved measurement, and its statistics. Nothing here knows gRPC.

Why so. On a shared machine the speed of everything drifts by tens of per cent within minutes, far more than the
differences that are looked for. So each round runs one batch of every variant, in a new random order, and a variant is
compared with the reference of the same round only. The median over the rounds of these ratios is what counts; the
interquartile range says how far to trust it. The garbage collector is off within a round and runs between rounds.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

REFERENCE = "bare"


@dataclass(frozen=True)
class Sample:
    """One batch: seconds per call, on the wall and of CPU in the process under test."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Quartiles:
    q1: float
    median: float
    q3: float


@dataclass(frozen=True)
class Section:
    """What is measured: which side is under test, on which stack, with which kind of call."""

    side: str
    stack: str
    kind: str

    def __str__(self) -> str:
        return f"{self.side} {self.stack} {self.kind}"


@dataclass(frozen=True)
class Row:
    """One variant: median microseconds per call, and its ratios to the reference of the same round."""

    side: str
    stack: str
    kind: str
    variant: str
    rounds: int
    wall_us: float
    cpu_us: float
    wall_ratio: Quartiles
    cpu_ratio: Quartiles


Batch = Callable[[], Sample]


def measure(run: Callable[[int], None], count: int, cpu_clock: Callable[[], float]) -> Sample:
    """Run ``count`` calls and return what one of them cost."""
    cpu = cpu_clock()
    wall = time.perf_counter()
    run(count)
    wall = time.perf_counter() - wall
    cpu = cpu_clock() - cpu
    return Sample(wall / count, cpu / count)


def interleave(
    batches: Mapping[str, Batch], rounds: int, order: random.Random, after_round: Callable[[], None] = lambda: None
) -> dict[str, list[Sample]]:
    """Run every batch once per round, shuffled, and return the samples of each in the order of the rounds."""
    samples: dict[str, list[Sample]] = {name: [] for name in batches}
    for _ in range(rounds):
        names = list(batches)
        order.shuffle(names)
        with _collector_off():
            for name in names:
                samples[name].append(batches[name]())
        after_round()
    return samples


class _collector_off:  # noqa: N801 - used as a word in a with statement
    def __enter__(self) -> None:
        gc.collect()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.enable()


def quartiles(values: Sequence[float]) -> Quartiles:
    """Return the quartiles, by linear interpolation between the values; a single value is all three."""
    if len(values) == 1:
        return Quartiles(values[0], values[0], values[0])
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return Quartiles(q1, median, q3)


def ratios(values: Sequence[float], reference: Sequence[float]) -> Quartiles:
    """Return the quartiles of the ratios of values of the same round; rounds in which the clock stood still are out."""
    paired = [value / base for value, base in zip(values, reference, strict=True) if base > 0]
    return quartiles(paired) if paired else Quartiles(1.0, 1.0, 1.0)


def rows(section: Section, samples: Mapping[str, Sequence[Sample]]) -> list[Row]:
    """Return one row per variant, the reference first, the others as given."""
    reference = samples[REFERENCE]
    names = [REFERENCE, *(name for name in samples if name != REFERENCE)]
    return [_row(section, name, samples[name], reference) for name in names]


def _row(section: Section, name: str, samples: Sequence[Sample], reference: Sequence[Sample]) -> Row:
    walls, cpus = [sample.wall for sample in samples], [sample.cpu for sample in samples]
    return Row(
        section.side,
        section.stack,
        section.kind,
        name,
        len(samples),
        statistics.median(walls) * 1e6,
        statistics.median(cpus) * 1e6,
        ratios(walls, [sample.wall for sample in reference]),
        ratios(cpus, [sample.cpu for sample in reference]),
    )
