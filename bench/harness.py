"""Paired, interleaved measurement, and its statistics. Nothing here knows gRPC.

Why so. On a shared machine the speed of everything drifts by tens of per cent within seconds, far more than the differences
that are looked for, and batches of fifty calls are already too long to be compared with each other (±15 %). So single
calls are interleaved: each *round* makes one call with every variant, in a new random order, and each call is timed by itself.
A hundred rounds or so are a *chunk*. Within a chunk each variant has a typical cost, its median over the rounds, and a
ratio of that to the reference's. The median of these ratios over the chunks is what counts (±1 %), and their interquartile
range says how far to trust it.

CPU time has no sharp median: threads of gRPC work on for a call after it has returned, and on the next one's account. There
the typical cost is the mean without the dearest tenth; what strays hits every variant alike, since the order is random.

The garbage collector is off within a chunk and runs between chunks.
"""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

REFERENCE = "bare"


@dataclass(frozen=True)
class Sample:
    """One call: seconds on the wall, and of CPU where that can be told call by call."""

    wall: float
    cpu: float | None = None


@dataclass(frozen=True)
class Typical:
    """One variant's typical cost within a chunk, in seconds per call or message."""

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
    """One variant: median microseconds per call, what they are above the reference's, and the ratios to it, per chunk."""

    side: str
    stack: str
    kind: str
    variant: str
    rounds: int
    chunks: int
    wall_us: float
    extra_us: Quartiles
    wall_ratio: Quartiles
    cpu_us: float
    cpu_ratio: Quartiles


def shuffled(names: Sequence[str], rounds: int, order: random.Random) -> Iterator[str]:
    """Yield every name once per round, in a new order each round."""
    for _ in range(rounds):
        yield from order.sample(names, len(names))


class collector_off:  # noqa: N801 - used as a word in a with statement
    """Collect garbage now and not again within the block."""

    def __enter__(self) -> None:
        gc.collect()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.enable()


def typical(samples: Sequence[Sample], cpu: float | None = None) -> Typical:
    """Return the typical cost of one chunk's samples; ``cpu`` is given where it was measured for the chunk as a whole."""
    per_call = [sample.cpu for sample in samples if sample.cpu is not None]
    return Typical(statistics.median(sample.wall for sample in samples), trimmed_mean(per_call) if cpu is None else cpu)


def trimmed_mean(values: Sequence[float]) -> float:
    """Return the mean without the dearest tenth; of nothing, 0."""
    kept = sorted(values)[: max(1, len(values) * 9 // 10)]
    return statistics.fmean(kept) if kept else 0.0


def quartiles(values: Sequence[float]) -> Quartiles:
    """Return the quartiles, by linear interpolation between the values; a single value is all three."""
    if len(values) == 1:
        return Quartiles(values[0], values[0], values[0])
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return Quartiles(q1, median, q3)


def ratios(values: Sequence[float], reference: Sequence[float]) -> Quartiles:
    """Return the quartiles of the ratios of values of the same chunk; chunks in which the clock stood still are out."""
    paired = [value / base for value, base in zip(values, reference, strict=True) if base > 0]
    return quartiles(paired) if paired else Quartiles(1.0, 1.0, 1.0)


def rows(section: Section, chunks: Sequence[Mapping[str, Typical]], rounds: int) -> list[Row]:
    """Return one row per variant, the reference first, the others as given. ``rounds`` is how many a chunk had."""
    names = [REFERENCE, *(name for name in chunks[0] if name != REFERENCE)]
    reference = [chunk[REFERENCE] for chunk in chunks]
    return [_row(section, name, [chunk[name] for chunk in chunks], reference, rounds) for name in names]


def _row(section: Section, name: str, costs: Sequence[Typical], reference: Sequence[Typical], rounds: int) -> Row:
    extra = [(cost.wall - base.wall) * 1e6 for cost, base in zip(costs, reference, strict=True)]
    return Row(
        section.side,
        section.stack,
        section.kind,
        name,
        rounds * len(costs),
        len(costs),
        statistics.median(cost.wall for cost in costs) * 1e6,
        quartiles(extra),
        ratios([cost.wall for cost in costs], [base.wall for base in reference]),
        statistics.median(cost.cpu for cost in costs) * 1e6,
        ratios([cost.cpu for cost in costs], [base.cpu for base in reference]),
    )
