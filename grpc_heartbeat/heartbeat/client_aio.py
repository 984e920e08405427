"""Heartbeats on an asyncio channel.

One task lives as long as the heartbeat and reads; gRPC adds one that feeds requests while a stream is open. Beats and time-outs
come from the loop's one timer queue. Everything runs on the loop that ``start`` was called on.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import time
import weakref
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat import _faults
from grpc_heartbeat._call_events import beat_events
from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.events import Event, Observers
from grpc_heartbeat.core.heartbeat_client import HeartbeatClient
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot
from grpc_heartbeat.heartbeat import calls
from grpc_heartbeat.heartbeat.stream_aio import AioStream
from grpc_heartbeat.telemetry.beats import BeatTracing, ClientBeats


class AioHeartbeat:
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
    ) -> None:
        self.policy = policy or HeartbeatPolicy()
        self.identity = identity or Identity()
        self.name = name
        self.observers = Observers(calls.observer_failed)
        self.owner: weakref.ref[Any] | None = None
        """Set by a channel: once it is gone, nobody can close the heartbeat any more, and its next event ends it."""
        self._open_stream: Any = channel.stream_stream(calls.KEEPALIVE)
        self._client = HeartbeatClient(self.policy, self.identity, time.monotonic(), random.random)
        self._tracing = BeatTracing(self.identity, self.policy.type, tracer_provider)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stream: AioStream | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Event | None = None

    def start(self) -> None:
        """Begin, on the running loop. Calling it again, or after :meth:`close`, does nothing.

        Raises:
            RuntimeError: no loop is running.
        """
        if self._task is not None or self._client.snapshot.state == "closed":
            return
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        # An empty context: no deadline, cancel scope or span of whoever happens to start this.
        self._task = contextvars.Context().run(
            self._loop.create_task, self._run(), name=f"grpc-heartbeat {self.name}".rstrip()
        )

    def snapshot(self) -> HeartbeatSnapshot:
        """Return what is known about the peer now; from any thread."""
        return self._client.snapshot

    async def close(self) -> None:
        """Say goodbye, end the stream and the task. Never takes longer than a second; idempotent."""
        if self._task is None or self._closing is None:
            self._finish("closed")
            return
        self._leave()
        if self._task is not asyncio.current_task():
            await asyncio.wait((self._task,))
            self._finish("closed")

    def _leave(self) -> None:
        if self._closing is not None and not self._closing.is_set():
            self._closing.set()
            if self._stream is not None:
                self._stream.say_goodbye()

    def _now(self) -> float:
        return time.monotonic() if self._loop is None else self._loop.time()

    def _publish(self, events: list[Event], beats: ClientBeats | None) -> None:
        self._client.publish(events)
        for event in events:
            if beats is not None:
                beats.observe(event)
            if self.observers:
                self.observers.emit(event)
            if beat_events:
                calls.tell_all(self, event, beats)
        if self.owner is not None and self.owner() is None:
            self._leave()

    async def _run(self) -> None:
        why: str | None = "cancelled"
        try:
            why = await self._keep_streaming()
        except Exception as error:
            why = f"internal fault: {error!r}"
            _faults.record("heartbeat.client_aio", error)
        finally:
            if why is not None:
                self._finish(why)

    async def _keep_streaming(self) -> str | None:
        """Open stream after stream; return why the heartbeat is closed, or ``None`` if it only rests."""
        assert self._closing is not None
        while not self._closing.is_set():
            try:
                await self._one_stream()
            except calls.ChannelClosedError as error:
                return str(error)
            pause = self._client.pause()
            if pause is None:
                return None
            await _wait(self._closing, pause)
        return "closed"

    async def _one_stream(self) -> None:
        session, opening = self._client.opening(self._now())
        beats = self._tracing.stream()
        self._stream = stream = AioStream(session, beats, publish=self._publish)
        self._publish([opening], beats)
        try:
            await stream.run(self._open_stream)
        finally:
            self._stream = None

    def _finish(self, why: str) -> None:
        event = self._client.close(self._now(), why)
        if event is not None:
            self._publish([event], None)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        pass
