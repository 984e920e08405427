"""An asyncio channel whose calls stop while its heartbeats find the peer dead, and whose connection is then replaced.

What it is made of: ``switch.py`` says where calls go, ``guarded_calls_aio.py`` are its methods, ``waiting_aio.py`` the calls
that wait. Each connection is a ``Channel`` as there is without a breaker; this one stands before them.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from grpc_heartbeat import _faults
from grpc_heartbeat.channel.aio import Channel
from grpc_heartbeat.channel.guarded_calls_aio import (
    GuardedStreamStream,
    GuardedStreamUnary,
    GuardedUnaryStream,
    GuardedUnaryUnary,
)
from grpc_heartbeat.channel.kinds import Kind, Signature
from grpc_heartbeat.channel.loops_aio import on_loop
from grpc_heartbeat.channel.switch import Switch, moved_by
from grpc_heartbeat.config import BreakerPolicy, HeartbeatPolicy, Identity
from grpc_heartbeat.policy import TimeoutPolicy

if TYPE_CHECKING:
    from grpc_heartbeat.heartbeat.client_aio import AioHeartbeat

_TELLING = 0.25
"""Seconds that calls which ended with their connection have to come back through interceptors, whose tasks a close cancels."""


_KINDS = {
    "unary_unary": GuardedUnaryUnary,
    "unary_stream": GuardedUnaryStream,
    "stream_unary": GuardedStreamUnary,
    "stream_stream": GuardedStreamStream,
}


class _Fitter:
    """Makes, moves to and closes channels. It does not know the guarded channel, which may be dropped."""

    heartbeat: AioHeartbeat

    def __init__(self, make: Callable[[int], Channel | None]) -> None:
        self.make = make
        self.moving = asyncio.Event()
        """Is set, and replaced, when the channel is."""
        self.closing: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def moved(self, old: Channel, new: Channel, after: float) -> None:
        self._loop = asyncio.get_running_loop()
        new.connection.made = weakref.WeakMethod(self.heartbeat.connected_anew)
        self.heartbeat.move(new.plain, after)
        moved, self.moving = self.moving, asyncio.Event()
        moved.set()

    def close(self, channel: Channel) -> None:
        if self._loop is not None:
            on_loop(self._loop, self._close, channel)

    def _close(self, channel: Channel) -> None:
        task = asyncio.get_running_loop().create_task(
            _closed(channel, _TELLING), name="grpc-heartbeat closes a connection"
        )
        self.closing.add(task)
        task.add_done_callback(self.closing.discard)


async def _closed(channel: Channel, grace: float | None = None) -> None:
    try:
        await channel.close(grace)
    except Exception as error:
        _faults.record("channel.close_aio", error)


class GuardedChannel(Channel):
    """Made by ``aio.insecure_channel``, ``aio.secure_channel`` and ``aio.wrap_channel`` with ``breaker=``.

    Args:
        first: The channel of the first connection.
        make: Makes that of a later generation; returns ``None`` where none can be made.
        timeouts: Those of ``first``.
        breaker: When calls stop.

    Attributes:
        breaker: What is known of the breaker, and who is told of it.
        switch: Where calls go.
    """

    def __init__(
        self, first: Channel, make: Callable[[int], Channel | None], timeouts: TimeoutPolicy, breaker: BreakerPolicy
    ) -> None:
        self._fitter = _Fitter(make)
        self._policy = breaker
        self._timeouts = timeouts
        self._heartbeat_started = True
        self.heartbeat = None
        self.switch: Switch[Channel] = Switch(first, self._fitter)

    @property
    def _inner(self) -> Channel:  # type: ignore[override]  # what a plain channel has is made once
        return self.switch.current.channel

    @property
    def connection(self) -> Any:  # type: ignore[override]  # as above
        """What is known of the present connection."""
        return self._inner.connection

    @property
    def plain(self) -> grpc.aio.Channel:
        return self._inner.plain

    def plan_heartbeat(self, policy: HeartbeatPolicy, identity: Identity, name: str) -> None:
        from grpc_heartbeat.heartbeat.client_aio import AioHeartbeat  # loads OpenTelemetry

        self.heartbeat = heartbeat = AioHeartbeat(self.plain, policy, identity, name=name, breaker=self._policy)
        self._fitter.heartbeat = heartbeat
        self.breaker = moved_by(heartbeat, self, self._policy, name)
        self._heartbeat_started = False
        self._start_heartbeat()

    async def close(self, grace: float | None = None) -> None:
        *retired, current = self.switch.close()
        if self.heartbeat is not None and self._heartbeat_started:
            await self.heartbeat.close()
        self._heartbeat_started = True
        for channel in retired:
            await _closed(channel)
        if self._fitter.closing:
            await asyncio.wait(set(self._fitter.closing))
        await current.close(grace)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        while self.get_state() is last_observed_state:
            moving, inner = self._fitter.moving, self._inner
            waiting = {
                asyncio.ensure_future(inner.wait_for_state_change(last_observed_state)),
                asyncio.ensure_future(moving.wait()),
            }
            try:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if not moving.is_set():
                    for task in done:
                        task.result()
            finally:
                for task in waiting:
                    task.cancel()

    async def channel_ready(self) -> None:
        self._start_heartbeat()
        while (state := self.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
            if state is grpc.ChannelConnectivity.SHUTDOWN:
                await self._inner.channel_ready()  # says that the channel is closed
                return
            await self.wait_for_state_change(state)

    def _method(self, kind: Kind, signature: Signature) -> Any:
        self._start_heartbeat()
        return _KINDS[kind](self, signature)
