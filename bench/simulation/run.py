"""One run of so many connections, here or in a process of its own, and runs of several sizes compared."""

from __future__ import annotations

import gc
import time

from bench.comparison import Comparison
from bench.orders import worker
from bench.readings import Readings
from bench.simulation.setting import Outcome
from bench.simulation.world import World


def simulate(connections: int) -> Outcome:
    """Run so many connections from their opening to the end."""
    gc.collect()
    gc.disable()
    try:
        readings = Readings()
        before, began = readings.settle()["kilobytes"], time.perf_counter()
        world = World(connections)
        made = time.perf_counter()
        readings.mark()
        world.run()
        cpu = readings.mark()["cpu"]
        world.reckon()
        outcome = world.outcome
        outcome.cpu_per_beat = cpu / world.beats * 1e6
        outcome.garbage = gc.collect()
        outcome.bytes_per_connection = (readings.settle()["kilobytes"] - before) * 1024 / connections
        outcome.seconds_to_make, outcome.seconds = made - began, time.perf_counter() - made
        return outcome
    finally:
        gc.enable()


def apart(connections: int) -> Outcome:
    """Run ``simulate`` in a process of its own."""
    with worker("bench.simulation", "--one", connections) as running:
        return Outcome(**running.first)


def compare(outcomes: list[Outcome]) -> list[Comparison]:
    """Return the outcomes side by side, with how much the largest costs more than the smallest."""
    names = [f"{outcome.connections:,}" for outcome in outcomes]
    figures = {
        "beats": ("beats", ""),
        "cpu_per_beat": ("CPU per beat, both ends", "µs"),
        "bytes_per_connection": ("memory per connection, both ends", "B"),
        "seconds_to_make": ("to make", "s"),
        "seconds": ("to run", "s"),
        "garbage": ("objects that are left to the collector", ""),
        "convicted": ("convicted", ""),
        "slowest_conviction": ("slowest conviction, without own pauses", "s"),
        "vanished": ("vanished clients that were found", ""),
        "slowest_sweep": ("slowest of them", "s"),
    }
    scaled = ("cpu_per_beat", "bytes_per_connection")
    return [
        Comparison(
            "simulated connections",
            name,
            unit,
            {key: getattr(outcome, attribute) for key, outcome in zip(names, outcomes, strict=True)},
            (names[-1], names[0]) if attribute in scaled and len(names) > 1 else None,
        )
        for attribute, (name, unit) in figures.items()
    ]
