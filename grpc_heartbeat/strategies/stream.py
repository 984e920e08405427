"""A strategy as a stream of beats: to its heartbeat a ``Stream`` like any other (``heartbeat/streams.py``).

Theory of operation
-------------------
So session, judge, back-off, spans and metrics need not know that what goes out is no heartbeat. The stream is opened by the
end of the strategy's ``start``; each beat that is sent becomes a ``probe``, and its return an ack. A probe that is overdue when
the next is due is cancelled: one is in flight. A task of the stream outlives the others: it waits for the first reason to end,
ends them, has the strategy stop, and then reports the end. A goodbye of the peer's is a goodbye here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol

from grpc_heartbeat import _faults
from grpc_heartbeat.config import Identity
from grpc_heartbeat.core.frames import Ack, Beat, Frame, Goodbye, GoodbyeReason, Hello
from grpc_heartbeat.core.heartbeat_events import FailureCause
from grpc_heartbeat.heartbeat import codec
from grpc_heartbeat.heartbeat.streams import Listener
from grpc_heartbeat.strategies.reasons import BROKEN, reason_of
from grpc_heartbeat.strategies.strategy import LeftError, Strategy, StrategyError

STOP_LIMIT = 0.5
"""Seconds that a strategy may take to stop."""


class StrategyListener(Listener, Protocol):
    """Whom the stream reports to."""

    def failed(self, stream: StrategyStream, why: str, cause: FailureCause) -> None:
        """The stream ended, because of ``why``."""
        ...

    def asked_for_calm(self) -> None:
        """The peer wants to be asked less often."""
        ...


class StrategyStream:
    """A ``Stream``; lives on the loop that made it.

    Args:
        make: Makes the strategy.
        listener: Whom to report to.
        peer: Who is on the other side, as its owner says; ``None``: nobody knows.
        interval: Seconds between beats that the peer has asked for; 0 if it has not.
    """

    def __init__(
        self, make: Callable[[], Strategy], listener: StrategyListener, peer: Identity | None, interval: float
    ) -> None:
        self._make = make
        self._listener = listener
        self._peer = peer
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[Exception | None] = self._loop.create_future()
        self._strategy: Strategy | None = None
        self._starting: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = self._begin(self._run())

    def send(self, data: bytes, number: int = 0) -> None:
        frame = codec.decode(data)
        if isinstance(frame, Beat) and not self._over.done():
            if self._probe is not None:
                self._probe.cancel()
            self._probe = self._begin(self._ask(frame))
            if number:
                self._listener.written(self, number)
        elif isinstance(frame, Goodbye):  # to a peer that would not understand it
            self.finish()

    def finish(self) -> None:
        self._end(None)

    def cancel(self) -> None:
        self._end(None)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # An empty context: no deadline, cancel scope or span of whoever happens to run this.
        return Context().run(self._loop.create_task, work)

    def _end(self, error: Exception | None) -> None:
        if not self._over.done():
            self._over.set_result(error)

    async def _run(self) -> None:
        error: Exception | None = None
        try:
            self._strategy = strategy = self._make()
            error = await self._live(strategy)
        except Exception as fault:
            error = fault
        finally:  # also when the loop is shut down, which cancels this task
            self._end(None)
            await self._stop()
            self._report(error)

    async def _live(self, strategy: Strategy) -> Exception | None:
        """Wait for the end; return why it came, ``None`` if it was asked for."""
        self._starting = self._begin(strategy.start(self._end))
        await asyncio.wait((self._starting, self._over), return_when=asyncio.FIRST_COMPLETED)
        if self._over.done():
            return self._over.result()
        self._starting.result()
        # What opens a stream is the peer's first frame; an ack of no beat says nothing more.
        self._say(Ack(0) if self._peer is None else Hello(self._peer))
        return await self._over

    async def _ask(self, beat: Beat) -> None:
        try:
            assert self._strategy is not None
            said = await self._strategy.probe(beat)
            ack = self._ack(beat, Ack(beat.sequence) if said is None else said)
        except Exception as error:
            self._end(error)
        else:
            self._say(ack)

    def _ack(self, beat: Beat, said: Ack) -> Ack:
        if said.sender is not None and self._peer is None:
            self._peer = said.sender
            self._say(Hello(said.sender))
        interval = max(self._interval, said.advised_interval)
        return said._replace(sequence=beat.sequence, advised_interval=interval, sender=None)

    def _say(self, frame: Frame) -> None:
        if not self._over.done():
            self._listener.received(self, codec.encode(frame))

    async def _stop(self) -> None:
        for task in (self._starting, self._probe):
            if task is not None:
                await self._settled(task)
        if self._strategy is not None:
            await self._settled(self._begin(self._strategy.stop()), STOP_LIMIT)

    async def _settled(self, task: asyncio.Task[None], patience: float = 0.0) -> None:
        """Wait for the end of ``task``, which is cancelled after ``patience`` seconds."""
        if patience:
            await asyncio.wait((task,), timeout=patience)
        task.cancel()
        await asyncio.wait((task,), timeout=STOP_LIMIT)
        if task.done() and not task.cancelled() and (error := task.exception()) is not None and patience:
            _faults.record("strategies.stop", error)

    def _report(self, error: Exception | None) -> None:
        if error is None:
            self._listener.cut_off(self, "the connection was left")
            return
        if isinstance(error, LeftError):
            if error.calm:
                self._listener.asked_for_calm()
            self._listener.received(self, codec.encode(Goodbye(GoodbyeReason.DRAINING, str(error))))
            self._listener.cut_off(self, str(error))
        elif isinstance(error, (StrategyError, *BROKEN)):
            self._listener.failed(self, reason_of(error), getattr(error, "cause", "lost"))
        else:
            _faults.record("strategies.strategy", error)
            self._listener.failed(self, f"fault of the strategy: {error!r}", "lost")
