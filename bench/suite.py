"""Which sections are compared with bare grpcio, and how each is measured.

The side under test is alone in its process. Client variants run in this process against a bare server of their own stack in
another; server variants run in a process of their own under the load of a bare sync client in this one. Unary calls are timed
one by one, streams by a few messages at a time of one long stream per chunk (client) or as whole short streams (server, which
would run ahead of a long one's reader).

A client's CPU is read at each call. A server's cannot be, from outside; so after the rounds of each chunk comes a batch of
calls per variant, in random order, with the CPU clock of the server's process read around it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from bench import servers, variants
from bench.harness import REFERENCE, Row, Sample, Section, Typical, collector_off, rows, shuffled, typical
from bench.load import AioLoad, SyncLoad

SECTIONS = tuple(
    Section(side, stack, kind)
    for side in ("client", "server")
    for stack in ("sync", "aio")
    for kind in ("unary", "stream")
)


@dataclass(frozen=True)
class Effort:
    """How much is measured: chunks, one more before them that is thrown away, rounds in each, and messages at a time."""

    chunks: int
    rounds: int
    messages: int


SERVED = 5
"""Streams that a server is measured by are so many times as long as what a client reads at a time."""

Chunk = dict[str, Typical]
RunChunk = Callable[[int], Chunk]
L = TypeVar("L", SyncLoad, AioLoad)


def run_section(section: Section, effort: Effort, order: random.Random, after_chunk: Callable[[], None]) -> list[Row]:
    """Measure one section."""
    chunks: list[Chunk] = []
    with _setup(section, effort, order) as run_chunk:
        run_chunk(max(1, effort.rounds // 2))
        for _ in range(effort.chunks):
            with collector_off():
                chunks.append(run_chunk(effort.rounds))
            after_chunk()
    return rows(section, chunks, effort.rounds)


@contextmanager
def _setup(section: Section, effort: Effort, order: random.Random) -> Iterator[RunChunk]:
    messages = effort.messages if section.kind == "stream" else 0
    with servers.running(section.stack) as running, ExitStack() as cleanup:
        if section.side == "server":
            bare = variants.ClientVariant(REFERENCE, variants.sync_clients()[0].open)
            loads = _closed_by(cleanup, {name: SyncLoad(bare, target) for name, target in running.targets.items()})
            yield lambda rounds: _server_chunk(loads, rounds, messages, order, running)
            return
        target = running.targets[REFERENCE]
        if section.stack == "sync":
            chosen = variants.of_kind(variants.sync_clients(), section.kind)
            loads = _closed_by(cleanup, {variant.name: SyncLoad(variant, target) for variant in chosen})
            yield lambda rounds: _client_chunk(loads, rounds, messages, order)
        else:
            loop = asyncio.new_event_loop()
            cleanup.callback(loop.close)
            chosen = variants.of_kind(variants.aio_clients(), section.kind)
            aio_loads = _closed_by(cleanup, {variant.name: AioLoad(variant, target, loop) for variant in chosen})
            yield lambda rounds: loop.run_until_complete(_aio_client_chunk(aio_loads, rounds, messages, order))


def _closed_by(cleanup: ExitStack, loads: dict[str, L]) -> dict[str, L]:
    for load in loads.values():
        cleanup.callback(load.close)
    return loads


def _client_chunk(loads: Mapping[str, SyncLoad], rounds: int, messages: int, order: random.Random) -> Chunk:
    """Run a chunk of calls, or of reads of so many messages."""
    samples: dict[str, list[Sample]] = {name: [] for name in loads}
    if not messages:
        for name in shuffled(list(loads), rounds, order):
            samples[name].append(loads[name].call())
    else:
        for load in loads.values():
            load.open_stream(rounds * messages)
        for name in shuffled(list(loads), rounds, order):
            samples[name].append(loads[name].read(messages))
        for load in loads.values():
            load.close_stream()
    return {name: typical(found) for name, found in samples.items()}


async def _aio_client_chunk(loads: Mapping[str, AioLoad], rounds: int, messages: int, order: random.Random) -> Chunk:
    samples: dict[str, list[Sample]] = {name: [] for name in loads}
    if not messages:
        for name in shuffled(list(loads), rounds, order):
            samples[name].append(await loads[name].call())
    else:
        for load in loads.values():
            await load.open_stream(rounds * messages)
        for name in shuffled(list(loads), rounds, order):
            samples[name].append(await loads[name].read(messages))
        for load in loads.values():
            await load.close_stream()
    return {name: typical(found) for name, found in samples.items()}


def _server_chunk(
    loads: Mapping[str, SyncLoad], rounds: int, messages: int, order: random.Random, running: servers.RunningServers
) -> Chunk:
    streamed = SERVED * messages

    def run(name: str) -> Sample:
        return loads[name].whole_stream(streamed) if streamed else loads[name].call()

    samples: dict[str, list[Sample]] = {name: [] for name in loads}
    for name in shuffled(list(loads), rounds, order):
        running.prepare(name)
        samples[name].append(Sample(run(name).wall))
    calls = max(1, rounds // 2)
    cpu: dict[str, float] = {}
    for name in shuffled(list(loads), 1, order):
        running.prepare(name)
        before = running.cpu_seconds()
        for _ in range(calls):
            run(name)
        cpu[name] = (running.cpu_seconds() - before) / (calls * max(1, streamed))
    return {name: typical(found, cpu[name]) for name, found in samples.items()}
