"""Heartbeats on an asyncio channel.

One task lives as long as the heartbeat and reads; gRPC adds one that feeds requests while a stream is open. Beats and time-outs
come from the loop's one timer queue. Everything runs on the loop that ``start`` was called on.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import time
from collections.abc import Iterable
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat import _faults
from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.events import Event, Observer, Observers
from grpc_heartbeat.core.heartbeat import ClientSession
from grpc_heartbeat.core.heartbeat_client import HeartbeatClient
from grpc_heartbeat.core.heartbeat_events import FailureCause
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot
from grpc_heartbeat.heartbeat import calls, codec
from grpc_heartbeat.heartbeat.outbox_aio import AioOutbox
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
        self.observers = Observers(_observer_failed)
        self._open_stream: Any = channel.stream_stream(calls.KEEPALIVE)
        self._client = HeartbeatClient(self.policy, self.identity, time.monotonic(), random.random)
        self._tracing = BeatTracing(self.identity, self.policy.type, tracer_provider)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stream: _Stream | None = None
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
        self._closing.set()
        if self._stream is not None:
            self._stream.say_goodbye()
        if self._task is not asyncio.current_task():
            await asyncio.wait((self._task,))
            self._finish("closed")

    def now(self) -> float:
        """Read the loop's clock."""
        return time.monotonic() if self._loop is None else self._loop.time()

    def tell(self, events: Iterable[Event], beats: ClientBeats | None) -> None:
        """Hand events to all who listen."""
        for event in events:
            if beats is not None:
                beats.observe(event)
            if self.observers:
                self.observers.emit(event)

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
            except _ChannelClosedError as error:
                return str(error)
            pause = self._client.pause()
            if pause is None:
                return None
            await _wait(self._closing, pause)
        return "closed"

    async def _one_stream(self) -> None:
        session, event = self._client.opening(self.now())
        self._stream = stream = _Stream(self, session, self._tracing.stream())
        try:
            await stream.run(self._open_stream, event)
        finally:
            self._stream = None

    def _finish(self, why: str) -> None:
        event = self._client.close(self.now(), why)
        if event is not None:
            self.tell([event], None)


class _ChannelClosedError(Exception):
    """The channel was closed under us."""


class _Stream:
    """One stream: its session, its alarm and the limit on its ending."""

    def __init__(self, owner: AioHeartbeat, session: ClientSession, beats: ClientBeats) -> None:
        timers = loop_timers()
        self._owner = owner
        self._session = session
        self._beats = beats
        self._outbox = AioOutbox(lambda sequence: session.written(sequence, owner.now()))
        self._alarm = timers.alarm(self._wake)
        self._grace = timers.timeout(calls.GOODBYE_GRACE, self.cancel)
        self._call: Any = None
        self._ending = False

    async def run(self, open_stream: Any, opening: Event) -> None:
        """Open the stream and read it until it ends."""
        self._outbox.put(codec.encode(self._session.hello()))
        self._after([opening])
        try:
            self._open(open_stream)
            await self._read()
        finally:
            self._end("the stream was left")  # tells nothing new if it is over, as it should be
            self._grace.cancel()
            self.cancel()

    def say_goodbye(self) -> None:
        """End the stream from our side, politely."""
        if not self._session.over:
            self._outbox.put(codec.encode(self._session.close(self._owner.now())))
            self._after()

    def cancel(self) -> None:
        """End the stream now."""
        if self._call is not None:
            self._call.cancel()

    def _open(self, open_stream: Any) -> None:
        try:
            self._call = open_stream(aiter(self._outbox), timeout=None, wait_for_ready=False)
        except Exception as error:  # UsageError has no public name; nothing else is raised here
            self._end("the channel is closed")
            raise _ChannelClosedError(f"the channel is closed ({error})") from error

    async def _read(self) -> None:
        try:
            while (data := await self._call.read()) is not grpc.aio.EOF:
                self._receive(data)
            self._end("the peer ended the stream")
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details()
            self._end(calls.describe(code, details), calls.failure_cause(code, details))
        except asyncio.CancelledError:
            # Raised for a cancelled call, by us or by closing the channel, and for a cancelled task alike.
            if not self._call.done() or _cancel_requested():
                raise
            self._end("the call was cancelled", "unclear")

    def _receive(self, data: bytes) -> None:
        for reply in self._session.receive(codec.decode(data), self._owner.now()):
            self._outbox.put(codec.encode(reply))
        self._after()

    def _wake(self) -> None:
        session = self._session
        if session.over:
            return
        now = max(self._owner.now(), self._alarm.when or 0.0)
        session.wake(now)
        due = session.beat_due(now)
        if due is not None:
            self._send_beat(due, now)
        self._after()
        if session.over:
            self.cancel()

    def _send_beat(self, sequence: int, now: float) -> None:
        beat = self._session.send_beat(now, self._beats.start(sequence))
        if beat is None:
            self._beats.drop(sequence)
        else:
            self._outbox.put(codec.encode(beat), beat.sequence)

    def _end(self, why: str, cause: FailureCause = "lost") -> None:
        self._session.stream_closed(self._owner.now(), why, cause)
        self._after()

    def _after(self, events: Iterable[Event] = ()) -> None:
        """Do what every change of the session asks for: set the alarm or end the sending, and tell of it."""
        events = [*events, *self._session.take_events()]
        wakeup = self._session.next_wakeup()
        if wakeup is not None:
            self._alarm.arm(wakeup)
        elif not self._ending:
            self._ending = True
            self._alarm.cancel()
            self._outbox.close()
            self._grace.arm(self._owner.now())
        self._owner._client.publish(events)
        self._owner.tell(events, self._beats)


def _cancel_requested() -> bool:
    """Tell whether the current task was asked to end; before Python 3.11 nobody knows."""
    task: Any = asyncio.current_task()
    cancelling = getattr(task, "cancelling", None)
    return cancelling is not None and cancelling() > 0


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        pass


def _observer_failed(_observer: Observer, error: Exception) -> None:
    _faults.record("heartbeat.observer", error)
