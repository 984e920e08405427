"""Beats of ``ping --strategy``: by any strategy, on one connection, which the beat after its end makes anew."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from grpc_heartbeat import strategies
from grpc_heartbeat.cli.explain import shorten
from grpc_heartbeat.cli.probe import Answered, Lost, Reply, Way
from grpc_heartbeat.core.frames import Ack, Beat
from grpc_heartbeat.heartbeat.messages import ack_message
from grpc_heartbeat.strategies.reasons import BROKEN, reason_of
from grpc_heartbeat.strategies.strategy import Strategy, StrategyError

T = TypeVar("T")

STOP_LIMIT = 0.5
"""Seconds that a strategy may take to stop."""


class StrategyProbe:
    """Beats to one peer, one at a time. Use it as an asynchronous context manager.

    Args:
        name: The strategy's.
        make: Makes one for each connection.
    """

    def __init__(self, name: str, make: Callable[[], Strategy]) -> None:
        self.level = Way(name)
        self._make = make
        self._strategy: Strategy | None = None
        self._lost: asyncio.Future[Exception] | None = None

    async def __aenter__(self) -> StrategyProbe:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def beat(self, sequence: int, timeout: float) -> Answered | Lost:
        """Send the beat ``sequence`` and wait at most ``timeout`` seconds for the connection and the answer."""
        end = time.monotonic() + timeout
        try:
            if self._lost is None or self._lost.done():
                await self._leave()
                if not await self._connect(end):
                    return Lost(sequence, self.level, "DEADLINE_EXCEEDED", f"no connection within {timeout:g} s")
            started = time.monotonic()
            answered, ack = await self._in_time(self._connected.probe(Beat(sequence, "readiness")), end)
        except (StrategyError, *BROKEN) as error:
            await self._leave()
            return Lost(sequence, self.level, "UNAVAILABLE", shorten(reason_of(error)))
        if not answered:
            return Lost(sequence, self.level, "DEADLINE_EXCEEDED", f"no answer within {timeout:g} s")
        return Answered(sequence, self.level, time.monotonic() - started, _reply(ack))

    @property
    def _connected(self) -> Strategy:
        assert self._strategy is not None
        return self._strategy

    async def _connect(self, end: float) -> bool:
        """Make a connection until ``end``; tell whether there is one."""
        self._strategy, self._lost = self._make(), asyncio.get_running_loop().create_future()
        connected, _ = await self._in_time(self._strategy.start(self._note), end)
        if not connected:
            await self._leave()
        return connected

    def _note(self, error: Exception) -> None:
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(error)

    async def _in_time(self, work: Coroutine[Any, Any, T], end: float) -> tuple[bool, T | None]:
        """Return whether ``work`` was done until ``end``, and with what result; raises what ended the connection before."""
        assert self._lost is not None
        task = asyncio.ensure_future(work)
        try:
            limit = max(0.0, end - time.monotonic())
            await asyncio.wait((task, self._lost), timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return True, task.result()
            if self._lost.done():
                raise self._lost.result()
            return False, None
        finally:
            task.cancel()
            await asyncio.wait((task,), timeout=STOP_LIMIT)

    async def _leave(self) -> None:
        strategy, self._strategy, self._lost = self._strategy, None, None
        if strategy is not None:
            task = asyncio.ensure_future(strategy.stop())
            await asyncio.wait((task,), timeout=STOP_LIMIT)
            task.cancel()


def choose(name: str, options: Mapping[str, Any], target: str) -> StrategyProbe:
    """Return beats to ``target`` by the strategy ``name``.

    Raises:
        MissingExtraError: the strategy's library is not installed.
        LookupError: there is no such strategy.
        ValueError: it does not take that target, or not those options.
    """
    make = partial(strategies.get(name), target, **options)
    try:
        make()  # does no I/O, and says whether the target is one
    except TypeError as error:
        if not options:
            raise
        raise ValueError(f"the strategy {name} takes no {' and no '.join(options)}") from error
    return StrategyProbe(name, make)


def _reply(ack: Ack | None) -> Reply:
    if ack is None:
        return Reply("")
    load = {descriptor.name: value for descriptor, value in ack_message(ack).load.ListFields()}
    peer = ack.sender
    if peer is None:
        return Reply(ack.status.name, load=load)
    return Reply(ack.status.name, service=peer.service, zone=peer.zone, instance=peer.instance, load=load)
