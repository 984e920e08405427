"""Heartbeats on an asyncio channel.

Beats and time-outs come from the wheel of the loop that ``start`` was called on; everything runs on that loop. What the peer
sends comes from futures' callbacks (``_grpcio_client_stream_aio.py``), or where only public API may be used, from a task for
each stream (``stream_aio.py``). One task waits for the shutting down of its loop, for all of the loop's heartbeats.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import time
from contextlib import nullcontext
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat._call_events import beat_events
from grpc_heartbeat._grpcio_client_stream_aio import BatchStream, method_of, usable
from grpc_heartbeat._ticks import Ticks, loop_ticks
from grpc_heartbeat.config import BreakerPolicy, HeartbeatPolicy, Identity
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.levels import Level
from grpc_heartbeat.heartbeat import calls
from grpc_heartbeat.heartbeat.driver import Heartbeat
from grpc_heartbeat.heartbeat.stream_aio import PublicStream
from grpc_heartbeat.heartbeat.streams import Listener, Stream
from grpc_heartbeat.telemetry.beats import ClientBeats

_ALONE = nullcontext()
_keepers: dict[asyncio.AbstractEventLoop, _Keeper] = {}


class _Keeper:
    """The heartbeats that are not at rest on one loop, and the task that is cancelled when the loop is shut down."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._kept: set[AioHeartbeat] = set()
        self._empty = loop.create_future()
        # In an empty context: no deadline, cancel scope or span of whoever happens to start a heartbeat.
        self._task = contextvars.Context().run(loop.create_task, self._keep(), name="grpc-heartbeats")

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> _Keeper:
        """Return the keeper of ``loop``."""
        keeper = _keepers.get(loop)
        if keeper is None:
            for known in tuple(_keepers):  # at once: other threads have loops, too
                if known.is_closed():  # without being shut down
                    _keepers.pop(known, None)
            keeper = _keepers[loop] = cls(loop)
        return keeper

    def add(self, heartbeat: AioHeartbeat) -> None:
        self._kept.add(heartbeat)

    def discard(self, heartbeat: AioHeartbeat) -> None:
        self._kept.discard(heartbeat)
        if not self._kept and not self._empty.done():
            self._forget()
            if not self._empty.get_loop().is_closed():
                self._empty.set_result(None)

    def _forget(self) -> None:
        loop = self._empty.get_loop()
        if _keepers.get(loop) is self:
            del _keepers[loop]

    async def _keep(self) -> None:
        try:
            await self._empty
        finally:
            self._forget()
            for heartbeat in tuple(self._kept):
                heartbeat._abort("cancelled")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keepers.clear)  # a child's loops are its own


class AioHeartbeat(Heartbeat):
    """A heartbeat on a ``grpc.aio.Channel``; arguments, states and events are those of ``SyncHeartbeat``.

    It may be made anywhere and is bound to the loop on which :meth:`start` is called. Observers are called on that loop.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        policy: HeartbeatPolicy | None = None,
        identity: Identity | None = None,
        *,
        name: str = "",
        tracer_provider: Any = None,
        breaker: BreakerPolicy | None = None,
    ) -> None:
        super().__init__(policy, identity, name, tracer_provider, time.monotonic(), _ALONE, breaker)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: _Keeper | None = None
        self._resting: asyncio.Future[None] | None = None
        self._use(channel)

    def start(self) -> None:
        """Begin, on the running loop. Calling it again, or after :meth:`close`, does nothing.

        Raises:
            RuntimeError: no loop is running.
        """
        if self._keeper is None and not self._closing:
            self._bind()
            self._start()

    def move(self, channel: grpc.aio.Channel, after: float = 0.0) -> None:
        """Leave the present stream and open the next one on ``channel`` in ``after`` seconds; on the loop.

        The heartbeat stays what it is: its identity, observers and snapshot. It begins if it was not started, and does nothing
        once it is closed.
        """
        self._use(channel)
        if self._closing:
            return
        if self._keeper is None:
            self._bind()
        self._started = True
        self._leave(self._now(), "moved to another channel", after)

    async def close(self) -> None:
        """Say goodbye and end the stream. Never takes longer than a second; idempotent."""
        self._close("closed")
        # On a loop that was closed without being shut down, no stream ends any more.
        if self._loop is not None and not self._loop.is_closed() and not self._rests():
            if self._resting is None:
                self._resting = self._loop.create_future()
            await asyncio.wait((self._resting,))

    def _bind(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._client.use_pauses(loop_ticks(self._loop).pauses)
        self._keeper = _Keeper.of(self._loop)
        self._keeper.add(self)

    def _abort(self, why: str) -> None:
        self._close(why)
        for stream in self._parting:
            stream.cancel()

    def _use(self, channel: Any) -> None:
        self._channel = channel
        self._open_stream: Any = channel.stream_stream(calls.KEEPALIVE)
        self._method = method_of(self._open_stream)
        self._get_state = channel.get_state

    def _now(self) -> float:
        return time.monotonic() if self._loop is None else self._loop.time()

    def _wheel(self) -> Ticks:
        return loop_ticks(self._loop)

    def _new_stream(self) -> Stream:
        level = self._client.level
        if level is Level.HEARTBEAT:
            return self._stream_of(self._open_stream, self)
        from grpc_heartbeat.heartbeat.fallback_aio import AioHealthStream

        return AioHealthStream(self._channel, level, self.policy, self, self._stream_of)

    def _stream_of(self, open_stream: Any, listener: Listener) -> Stream:
        method = self._method if open_stream is self._open_stream else method_of(open_stream)
        if method is not None and usable():
            return BatchStream(method, listener)
        return PublicStream(open_stream, listener)

    def _ready(self) -> bool | None:
        state = self._get_state()
        # The stream will say that the channel is closed.
        return None if state is grpc.ChannelConnectivity.SHUTDOWN else state is grpc.ChannelConnectivity.READY

    def _tell(self, event: Event, beats: ClientBeats | None) -> None:
        if self.guard is not None:
            self.guard(event)
        self._tracing.observe(event, beats)
        if self.observers:
            self.observers.emit(event)
        if beat_events:
            beat_events.emit(calls.news(self, event, beats))

    def _gone(self) -> None:
        if self._keeper is not None:
            self._keeper.discard(self)
        if self._resting is not None and not self._resting.done():
            self._resting.set_result(None)
