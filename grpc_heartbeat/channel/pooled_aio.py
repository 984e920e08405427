"""A ``grpc.aio.Channel`` over several connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat._ticks import Ticks, loop_ticks
from grpc_heartbeat._types import (
    AioStreamStreamBase,
    AioStreamUnaryBase,
    AioUnaryStreamBase,
    AioUnaryUnaryBase,
)
from grpc_heartbeat.channel.aio import Channel
from grpc_heartbeat.channel.connectivity import best_of
from grpc_heartbeat.channel.kinds import Kind, Kinds, Signature
from grpc_heartbeat.channel.pool import ChannelPool, Held, Pooled, outcome_of
from grpc_heartbeat.config import PoolPolicy
from grpc_heartbeat.core.pool import Outcome, PoolMember

AioMember = PoolMember[Held[Channel]]


class AioPool(ChannelPool[Channel]):
    """The connections of a :class:`PooledChannel`; used on the loop of its first call."""

    def __init__(self, make: Callable[[], Channel], policy: PoolPolicy, target: str = "") -> None:
        super().__init__(make, policy, target)
        self._tasks: set[asyncio.Task[None]] = set()
        self._changes: dict[Channel, asyncio.Task[None]] = {}

    async def close(self, grace: float | None = None) -> None:
        """Close all channels, those at work within ``grace`` seconds."""
        channels = self._stop()
        await asyncio.gather(*(channel.close(grace) for channel in channels))
        rest = [*self._tasks, *self._changes.values()]
        for change in self._changes.values():
            change.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def state(self, try_to_connect: bool) -> grpc.ChannelConnectivity:
        """Return the best state of any connection; ``try_to_connect``: have the first one made if there is none."""
        states = [channel.get_state() for channel in self.channels()]
        if len(states) < self.policy.size and not self.closed:
            states.append(grpc.ChannelConnectivity.IDLE)
        best = best_of(states)
        if try_to_connect and best is grpc.ChannelConnectivity.IDLE:
            self._pool.members[0].held.channel().get_state(try_to_connect=True)
        return best

    async def changed(self, last: grpc.ChannelConnectivity) -> None:
        """Return when :meth:`state` is not ``last``."""
        self._pool.members[0].held.channel()
        while self.state(try_to_connect=False) is last:
            await asyncio.wait([self._change(channel) for channel in self.channels()], return_when="FIRST_COMPLETED")

    def _change(self, channel: Channel) -> asyncio.Task[None]:
        """Return the one task that waits for a change of ``channel``: gRPC goes on with a watch that is given up."""
        change = self._changes.get(channel)
        if change is None:
            watching = channel.wait_for_state_change(channel.get_state())
            change = self._changes[channel] = self._begin(watching)
            change.add_done_callback(lambda _: self._changes.pop(channel, None))
        return change

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return Context().run(asyncio.get_running_loop().create_task, coroutine)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._begin(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ticks(self) -> Ticks:
        return loop_ticks()

    def _probe(self, member: AioMember) -> None:
        method = member.held.channel().unary_unary(member.held.probe)
        self._start(self._ask(member, method(b"", timeout=self.policy.probe_timeout, wait_for_ready=False)))

    async def _ask(self, member: AioMember, call: Any) -> None:
        try:
            code = await call.code()
        except Exception:  # a channel that is being closed, interceptors of the application's
            code = grpc.StatusCode.UNAVAILABLE
        self._answered(member, code)

    def _close_ended(self, members: list[AioMember]) -> None:
        for member in members:
            channel = member.held.close()
            if channel is not None:
                self._start(channel.close())


def code_now(call: Any) -> object:
    """Return the code of a call that is done, without waiting for it; ``None`` if it has none."""
    answer = call.code()
    try:
        answer.send(None)
    except StopIteration as stop:
        return stop.value
    except Exception:
        return None
    answer.close()
    return None


class _Method(Pooled[Channel]):
    _pool: AioPool

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        pool = self._pool
        member = pool.take()
        try:
            call = self.on(member)(*arguments, **options)
            if call.done():  # so soon: it was not sent
                pool.give_back(member, Outcome.UNKNOWN)
            else:
                call.add_done_callback(lambda done: pool.give_back(member, outcome_of(code_now(done))))
        except BaseException:
            pool.give_back(member, Outcome.UNKNOWN)
            raise
        return call


class _UnaryUnary(_Method, AioUnaryUnaryBase):
    kind = "unary_unary"


class _UnaryStream(_Method, AioUnaryStreamBase):
    kind = "unary_stream"


class _StreamUnary(_Method, AioStreamUnaryBase):
    kind = "stream_unary"


class _StreamStream(_Method, AioStreamStreamBase):
    kind = "stream_stream"


_KINDS = {
    "unary_unary": _UnaryUnary,
    "unary_stream": _UnaryStream,
    "stream_unary": _StreamUnary,
    "stream_stream": _StreamStream,
}


class PooledChannel(Kinds, grpc.aio.Channel):
    """Spreads its calls over channels that ``make`` makes, each with its own connection. Made by ``aio.pooled_channel``.

    Attributes:
        pool: Its connections: ``channel.pool.snapshot()`` tells how they are and how often one was reused.
    """

    def __init__(self, make: Callable[[], Channel], policy: PoolPolicy, target: str = "") -> None:
        self.pool = AioPool(make, policy, target)

    async def __aenter__(self) -> PooledChannel:
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close all connections; calls in flight have ``grace`` seconds to end."""
        await self.pool.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self.pool.state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self.pool.changed(last_observed_state)

    async def channel_ready(self) -> None:
        """Return when one of the connections is ready; one is made if there is none."""
        while (state := self.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
            await self.wait_for_state_change(state)

    def _method(self, kind: Kind, signature: Signature) -> Any:
        return _KINDS[kind](self, *signature)
