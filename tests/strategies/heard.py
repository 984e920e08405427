"""What a prober's observers heard, and waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from grpc_heartbeat import HeartbeatPolicy, events
from grpc_heartbeat.core.verdicts import Verdict
from grpc_heartbeat.strategies import aio
from tests.peers import PATIENCE

FAST = HeartbeatPolicy(interval=0.05, misses=3, reconnect_min=0.02, reconnect_max=0.05)
"""Beats in quick succession, for silence that convicts soon. Who expects an answer takes ``CALM``: a loud machine is late."""

CALM = HeartbeatPolicy(interval=0.05, timeout=0.05, misses=200, reconnect_min=0.02, reconnect_max=0.05)

_E = TypeVar("_E", bound=events.Event)


class Heard:
    """The events of one prober, in order."""

    def __init__(self, prober: aio.Prober) -> None:
        self.prober = prober
        self.events: list[events.Event] = []
        self._news = asyncio.Event()
        prober.observers.add(self._hear)

    def _hear(self, event: events.Event) -> None:
        self.events.append(event)
        self._news.set()

    def all(self, kind: type[_E]) -> list[_E]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def convictions(self) -> list[Verdict]:
        return [event.after for event in self.all(events.VerdictChanged) if event.after.convicts]

    async def until(self, condition: Callable[[], object], patience: float = PATIENCE) -> None:
        """Return once ``condition`` holds; it is looked at after each event."""

        async def look() -> None:
            while not condition():
                self._news.clear()
                await self._news.wait()

        try:
            await asyncio.wait_for(look(), patience)
        except asyncio.TimeoutError:
            raise AssertionError(f"still waiting; heard {self.events[-8:]}") from None

    async def first(self, kind: type[_E], count: int = 1) -> _E:
        """Return the first event of ``kind``, or the one of that number."""
        await self.until(lambda: len(self.all(kind)) >= count)
        return self.all(kind)[count - 1]

    async def more(self, kind: type[_E], count: int = 1) -> _E:
        """Return the last of ``count`` events of ``kind`` that come from now on."""
        return await self.first(kind, len(self.all(kind)) + count)

    async def verdict(self, wanted: Verdict) -> None:
        await self.until(lambda: self.prober.snapshot().verdict is wanted)


@asynccontextmanager
async def probing(strategy: Any, target: str, policy: HeartbeatPolicy = CALM, **rest: Any) -> AsyncIterator[Heard]:
    """Run a prober for the length of the block."""
    prober = aio.Prober(strategy, target, policy, **rest)
    heard = Heard(prober)
    async with prober:
        yield heard
