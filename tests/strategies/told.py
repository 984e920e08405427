"""A strategy that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from grpc_heartbeat import strategies


class Told:
    """Makes strategies that do what a test says, and notes what is asked of them."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.lost: strategies.Lost | None = None
        self.beats: list[strategies.Beat] = []
        self.in_flight = self.most_in_flight = 0
        self.on_start: Callable[[], Any] = lambda: None
        self.on_probe: Callable[[strategies.Beat], Any] = lambda beat: None
        self.on_stop: Callable[[], Any] = lambda: None

    def __call__(self, target: str) -> _Told:
        if target != "peer":
            raise ValueError("target must be 'peer'")
        self.log.append("made")
        return _Told(self)


class _Told:
    def __init__(self, told: Told) -> None:
        self._told = told

    async def start(self, lost: strategies.Lost) -> None:
        self._told.log.append("start")
        self._told.lost = lost
        await _done(self._told.on_start())

    async def probe(self, beat: strategies.Beat) -> strategies.Ack | None:
        told = self._told
        told.beats.append(beat)
        told.in_flight += 1
        told.most_in_flight = max(told.most_in_flight, told.in_flight)
        try:
            said: strategies.Ack | None = await _done(told.on_probe(beat))
            return said
        finally:
            told.in_flight -= 1

    async def stop(self) -> None:
        self._told.log.append("stop")
        await _done(self._told.on_stop())


async def _done(result: Any) -> Any:
    return await result if asyncio.iscoroutine(result) or asyncio.isfuture(result) else result


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> None:
        raise error

    return fail


def never(*_: Any) -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()
