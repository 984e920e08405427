"""What it costs to wake 10,000 streams for a beat each in turn: this library's wheel, a timer per stream, a task per stream.

No gRPC here. ``python -m bench.streams.scheduler DESIGN STREAMS RATE SECONDS`` prints CPU per beat and memory per stream.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from bench.comparison import Comparison
from bench.orders import answer, cores, worker
from bench.readings import Readings
from grpc_heartbeat._ticks import loop_ticks, ticks
from grpc_heartbeat._timers import clock
from grpc_heartbeat.core.wheel import Member, grain_of

SECTION = "streams scheduler"
DESIGNS = ("wheel, sync", "wheel, aio", "timer per stream", "task per stream", "thread per stream")
WHEEL, NAIVE = DESIGNS[0], DESIGNS[3]
MOST = {"wheel, sync": 6.0, "wheel, aio": 6.0}
THREADED = 1_000
"""Streams where each has a thread."""


class Beating(Member):
    """A member that counts, every ``interval`` from its first instant on."""

    __slots__ = ("due", "grain", "interval", "run")

    def __init__(self, run: Run, due: float, interval: float) -> None:
        self.slot = None
        self.grain = grain_of(interval)
        self.run = run
        self.due = due
        self.interval = interval

    def tick(self, now: float) -> float | None:
        self.run.beats += 1
        self.due += self.interval
        return self.due


class Run:
    """So many streams that beat at so many beats a second in all."""

    def __init__(self, streams: int, rate: float, seconds: float) -> None:
        self.streams = streams
        self.interval = streams / rate
        self.seconds = seconds
        self.beats = 0
        self.readings = Readings()
        self._before = self.readings.settle()["kilobytes"]

    def phases(self) -> list[float]:
        """Return when each stream first beats, in seconds from now."""
        dice = random.Random(1)
        return [dice.random() * self.interval for _ in range(self.streams)]

    def begin(self) -> None:
        """Note that all are set up and going."""
        self.kilobytes = (self.readings.settle()["kilobytes"] - self._before) / self.streams
        self.readings.mark()
        self.beats = 0

    def end(self) -> None:
        """Say what it cost."""
        marked = self.readings.mark()
        answer(
            beats=self.beats,
            cpu=marked["cpu"] * 1e6 / max(1, self.beats),
            wakeups=marked["wakeups"] / max(1, self.beats),
            kilobytes=self.kilobytes,
        )


def wheel_sync(run: Run) -> None:
    wheel, now = ticks(), clock()
    for phase in run.phases():
        wheel.add(Beating(run, now + phase, run.interval), now + phase)
    run.begin()
    time.sleep(run.seconds)
    run.end()


async def wheel_aio(run: Run) -> None:
    wheel, now = loop_ticks(), asyncio.get_running_loop().time()
    for phase in run.phases():
        wheel.add(Beating(run, now + phase, run.interval), now + phase)
    run.begin()
    await asyncio.sleep(run.seconds)
    run.end()


async def timer_per_stream(run: Run) -> None:
    loop = asyncio.get_running_loop()

    def fire() -> None:
        run.beats += 1
        loop.call_later(run.interval, fire)

    for phase in run.phases():
        loop.call_later(phase, fire)
    run.begin()
    await asyncio.sleep(run.seconds)
    run.end()


async def task_per_stream(run: Run) -> None:
    async def beat(phase: float) -> None:
        await asyncio.sleep(phase)
        while True:
            run.beats += 1
            await asyncio.sleep(run.interval)

    tasks = [asyncio.create_task(beat(phase)) for phase in run.phases()]
    await asyncio.sleep(0)
    run.begin()
    await asyncio.sleep(run.seconds)
    run.end()
    for task in tasks:
        task.cancel()


def thread_per_stream(run: Run) -> None:
    def beat(phase: float) -> None:
        time.sleep(phase)
        while True:
            run.beats += 1
            time.sleep(run.interval)

    for phase in run.phases():
        threading.Thread(target=beat, args=(phase,), daemon=True).start()
    run.begin()
    time.sleep(run.seconds)
    run.end()


WAYS: dict[str, Callable[[Run], Any]] = dict(
    zip(DESIGNS, (wheel_sync, wheel_aio, timer_per_stream, task_per_stream, thread_per_stream), strict=True)
)


def compare(streams: int, rate: float, seconds: float) -> list[Comparison]:
    """Run every design in a process of its own."""
    found: dict[str, dict[str, Any]] = {}
    for design in DESIGNS:
        held = min(streams, THREADED) if design == "thread per stream" else streams
        with worker("bench.streams.scheduler", design, held, rate, seconds, core=cores()[0]) as running:
            found[design] = {"streams": held, **running.first}
    names = {"streams": ("streams", ""), "cpu": ("CPU per beat", "µs"), "wakeups": ("wake-ups per beat", "")}
    names["kilobytes"] = ("memory per stream", "KB")
    return [
        Comparison(
            SECTION,
            name,
            unit,
            {design: figures[key] for design, figures in found.items()},
            None if key == "streams" else (NAIVE, WHEEL),
            MOST if key == "cpu" else {},
        )
        for key, (name, unit) in names.items()
    ]


def main() -> None:
    design, streams, rate, seconds = sys.argv[1:]
    begun = WAYS[design](Run(int(streams), float(rate), float(seconds)))
    if asyncio.iscoroutine(begun):
        asyncio.run(begun)


if __name__ == "__main__":
    main()
