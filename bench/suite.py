"""Which sections there are, and how each is measured.

The side under test is alone in its process. Client variants run in this process against a bare server of their own stack in
another; server variants run in a process of their own under the load of a bare sync client in this one.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from bench import servers, variants
from bench.harness import REFERENCE, Batch, Row, Section, interleave, measure, rows
from bench.load import AioLoad, SyncLoad

SECTIONS = tuple(
    Section(side, stack, kind)
    for side in ("client", "server")
    for stack in ("sync", "aio")
    for kind in ("unary", "stream")
)
Load = SyncLoad | AioLoad


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds, rounds before them that are thrown away, and calls or messages per batch."""

    rounds: int
    warm_up: int
    calls: int
    messages: int


@dataclass(frozen=True)
class Setup:
    """One side and stack, ready to run: the load of each variant and the clock of the process under test."""

    loads: Mapping[str, Load]
    cpu_clock: Callable[[], float]


def run_section(section: Section, effort: Effort, order: random.Random, after_round: Callable[[], None]) -> list[Row]:
    """Measure one section."""
    with _setup(section) as setup:
        batches = {name: _batch(load, section.kind, effort, setup.cpu_clock) for name, load in setup.loads.items()}
        interleave(batches, effort.warm_up, order)
        return rows(section, interleave(batches, effort.rounds, order, after_round))


def _batch(load: Load, kind: str, effort: Effort, cpu_clock: Callable[[], float]) -> Batch:
    if kind == "unary":
        return partial(measure, load.unary, effort.calls, cpu_clock)
    return partial(measure, load.stream, effort.messages, cpu_clock)


@contextmanager
def _setup(section: Section) -> Iterator[Setup]:
    with servers.running(section.stack) as running, ExitStack() as cleanup:
        if section.side == "server":
            bare = variants.ClientVariant(REFERENCE, variants.sync_clients()[0].open)
            loads: dict[str, Load] = {name: SyncLoad(bare, target) for name, target in running.targets.items()}
            clock: Callable[[], float] = running.cpu_seconds
        else:
            loads, clock = _client_loads(section.stack, running.targets[REFERENCE], cleanup), time.process_time
        for load in loads.values():
            cleanup.callback(load.close)
        yield Setup(loads, clock)


def _client_loads(stack: str, target: str, cleanup: ExitStack) -> dict[str, Load]:
    if stack == "sync":
        return {variant.name: SyncLoad(variant, target) for variant in variants.sync_clients()}
    loop = asyncio.new_event_loop()
    cleanup.callback(loop.close)
    return {variant.name: AioLoad(variant, target, loop) for variant in variants.aio_clients()}
