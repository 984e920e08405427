"""Heartbeats on an asyncio channel.

Beats and time-outs come from the wheel of the loop that ``start`` was called on; everything runs on that loop. A heartbeat has
one task for its life, which waits for its end: it is how a loop that is shut down ends it.
"""

from __future__ import annotations

import asyncio
import contextvars
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
from grpc_heartbeat.heartbeat import calls
from grpc_heartbeat.heartbeat.driver import Heartbeat
from grpc_heartbeat.heartbeat.stream_aio import PublicStream
from grpc_heartbeat.heartbeat.streams import Stream
from grpc_heartbeat.telemetry.beats import ClientBeats

_ALONE = nullcontext()
_CONNECTED = (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.SHUTDOWN)


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
        self._ticks: Ticks | None = None
        self._task: asyncio.Task[None] | None = None
        self._all_ended: asyncio.Future[None] | None = None
        self._use(channel)

    def start(self) -> None:
        """Begin, on the running loop. Calling it again, or after :meth:`close`, does nothing.

        Raises:
            RuntimeError: no loop is running.
        """
        if self._task is not None or self._closing:
            return
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
        if self._task is None:
            self._bind()
        self._started = True
        self._leave(self._now(), "moved to another channel", after)

    async def close(self) -> None:
        """Say goodbye and end the stream. Never takes longer than a second; idempotent."""
        self._close("closed")
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait((self._task,))

    def _bind(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._ticks = loop_ticks(loop)
        self._client.use_pauses(self._ticks.pauses)
        self._all_ended = loop.create_future()
        # An empty context: no deadline, cancel scope or span of whoever happens to start this.
        name = f"grpc-heartbeat {self.name}".rstrip()
        self._task = contextvars.Context().run(loop.create_task, self._last(self._all_ended), name=name)

    async def _last(self, all_ended: asyncio.Future[None]) -> None:
        try:
            await all_ended
        except asyncio.CancelledError:  # the loop is shut down
            self._close("cancelled")
            for stream, _ in self._parting:
                stream.cancel()
            raise

    def _use(self, channel: Any) -> None:
        self._open_stream: Any = channel.stream_stream(calls.KEEPALIVE)
        self._method = method_of(self._open_stream)
        self._get_state = channel.get_state

    def _now(self) -> float:
        return time.monotonic() if self._loop is None else self._loop.time()

    def _wheel(self) -> Ticks:
        assert self._ticks is not None
        return self._ticks

    def _new_stream(self) -> Stream:
        if self._method is not None and usable():
            return BatchStream(self._method, self)
        return PublicStream(self._open_stream, self)

    def _connected(self) -> bool:
        return self._get_state() in _CONNECTED

    def _ready(self) -> bool | None:
        return self._get_state() is grpc.ChannelConnectivity.READY

    def _tell(self, event: Event, beats: ClientBeats | None) -> None:
        if self.guard is not None:
            self.guard(event)
        if beats is not None:
            beats.observe(event)
        if self.observers:
            self.observers.emit(event)
        if beat_events:
            beat_events.emit(calls.news(self, event, beats))

    def _gone(self) -> None:
        if self._all_ended is not None and not self._all_ended.done():
            self._all_ended.set_result(None)
