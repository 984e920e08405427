"""Heartbeats on a synchronous channel.

One reader thread lives as long as the heartbeat; gRPC adds one that feeds requests while a stream is open. Beats and time-outs
come from the process's one timer thread. Each stream's state is a ``ClientSession`` behind one lock; nothing of gRPC or of
observers is called while it is held.
"""

from __future__ import annotations

import contextvars
import random
import threading
from collections.abc import Iterable
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._timers import clock, timers
from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.events import Event, Observer, Observers
from grpc_heartbeat.core.heartbeat import ClientSession
from grpc_heartbeat.core.heartbeat_client import HeartbeatClient
from grpc_heartbeat.core.heartbeat_events import FailureCause
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot
from grpc_heartbeat.heartbeat import calls, codec
from grpc_heartbeat.heartbeat.delivery import OrderedDelivery
from grpc_heartbeat.heartbeat.outbox import Outbox
from grpc_heartbeat.telemetry.beats import BeatTracing, ClientBeats

_JOIN_LIMIT = 5.0


class SyncHeartbeat:
    """A heartbeat on a ``grpc.Channel``: opens a Keepalive stream, beats on it, and opens a new one when it fails, for ever.

    Args:
        channel: Any channel. The stream is opened in an empty context, with no time-out and without waiting for readiness.
        policy: When to beat and when to give up. Default: ``HeartbeatPolicy()``.
        identity: Who this process is. Default: ``Identity()``.
        name: Of the thread and in log lines, usually the target.
        tracer_provider: OpenTelemetry's, for the spans of beats. Default: the global one.

    ``observers`` hear every event of ``grpc_heartbeat.core.heartbeat_events``, in order, from a thread of ours: they must be
    quick, and may call :meth:`close`.
    """

    def __init__(
        self,
        channel: grpc.Channel,
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
        self._client = HeartbeatClient(self.policy, self.identity, clock(), random.random)
        self._tracing = BeatTracing(self.identity, self.policy.type, tracer_provider)
        self._delivery: OrderedDelivery[ClientBeats | None] = OrderedDelivery(self._tell)
        self._lock = threading.Lock()
        self._stream: _Stream | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin. Calling it again, or after :meth:`close`, does nothing."""
        with self._lock:
            if self._thread is not None or self._closing.is_set():
                return
            self._thread = threading.Thread(target=self._run, name=f"grpc-heartbeat {self.name}".rstrip(), daemon=True)
            self._thread.start()

    def snapshot(self) -> HeartbeatSnapshot:
        """Return what is known about the peer now, without taking a lock."""
        return self._client.snapshot

    def close(self) -> None:
        """Say goodbye, end the stream and join the thread. Never blocks for longer than a few seconds; idempotent."""
        self._closing.set()
        with self._lock:
            thread, stream = self._thread, self._stream
        if stream is not None:
            stream.say_goodbye()
        if thread is threading.current_thread():
            return  # an observer closes: the reader ends as soon as it gets control back
        if thread is not None:
            thread.join(_JOIN_LIMIT)
        self._finish("closed")

    def _run(self) -> None:
        try:
            why = self._keep_streaming()
        except Exception as error:
            why = f"internal fault: {error!r}"
            _faults.record("heartbeat.client", error)
        if why is not None:
            self._finish(why)

    def _keep_streaming(self) -> str | None:
        """Open stream after stream; return why the heartbeat is closed, or ``None`` if it only rests."""
        while not self._closing.is_set():
            try:
                self._one_stream()
            except _ChannelClosedError as error:
                return str(error)
            pause = self._client.pause()
            if pause is None:
                return None
            self._closing.wait(pause)
        return "closed"

    def _one_stream(self) -> None:
        session, event = self._client.opening(clock())
        stream = _Stream(self, session, self._tracing.stream())
        with self._lock:
            self._stream = stream
        try:
            stream.run(self._open_stream, event)
        finally:
            with self._lock:
                self._stream = None

    def _finish(self, why: str) -> None:
        with self._lock:
            event = self._client.close(clock(), why)
        if event is not None:
            self._delivery.queue([event], None)
            self._delivery.deliver()

    def _tell(self, event: Event, beats: ClientBeats | None) -> None:
        if beats is not None:
            beats.observe(event)
        if self.observers:
            self.observers.emit(event)


class _ChannelClosedError(Exception):
    """The channel was closed under us."""


class _Stream:
    """One stream: its session, its alarm and the limit on its ending. The owner's lock guards the session."""

    def __init__(self, owner: SyncHeartbeat, session: ClientSession, beats: ClientBeats) -> None:
        self._owner = owner
        self._session = session
        self._beats = beats
        self._outbox = Outbox(self._written)
        self._alarm = timers().alarm(self._wake)
        self._grace = timers().timeout(calls.GOODBYE_GRACE, self.cancel)
        self._call: Any = None
        self._cancelled = self._ending = False

    def run(self, open_stream: Any, opening: Event) -> None:
        """Open the stream and read it until it ends."""
        self._outbox.put(codec.encode(self._session.hello()))
        self._after([opening])
        if self._owner._closing.is_set():
            self.say_goodbye()
        try:
            self._open(open_stream)
            for data in self._call:
                self._receive(data)
            self._end("the peer ended the stream")
        except grpc.RpcError as error:
            code, details = _status(error)
            self._end(calls.describe(code, details), calls.failure_cause(code, details))
        finally:
            self._end("the stream was left")  # tells nothing new if it is over, as it should be
            self._grace.cancel()

    def say_goodbye(self) -> None:
        """End the stream from our side, politely."""
        with self._owner._lock:
            goodbye = None if self._session.over else self._session.close(clock())
        if goodbye is not None:
            self._outbox.put(codec.encode(goodbye))
            self._after()

    def cancel(self) -> None:
        """End the stream now."""
        self._cancelled = True
        call = self._call
        if call is not None:
            call.cancel()

    def _open(self, open_stream: Any) -> None:
        try:
            # An empty context: no deadline, cancel scope or span of whoever happens to run this.
            self._call = contextvars.Context().run(open_stream, self._outbox, timeout=None, wait_for_ready=False)
        except ValueError as error:
            self._end("the channel is closed")
            raise _ChannelClosedError(f"the channel is closed ({error})") from error
        if self._cancelled:
            self._call.cancel()

    def _receive(self, data: bytes) -> None:
        with self._owner._lock:
            replies = self._session.receive(codec.decode(data), clock())
        for reply in replies:
            self._outbox.put(codec.encode(reply))
        self._after()

    def _written(self, sequence: int) -> None:
        with self._owner._lock:
            self._session.written(sequence, clock())

    def _wake(self) -> None:
        now = max(clock(), self._alarm.when or 0.0)
        with self._owner._lock:
            if self._session.over:
                return
            self._session.wake(now)
            due, failed = self._session.beat_due(now), self._session.over
        if due is not None:
            self._send_beat(due, now)
        self._after()
        if failed:
            self.cancel()

    def _send_beat(self, sequence: int, now: float) -> None:
        trace_context = self._beats.start(sequence)
        with self._owner._lock:
            beat = self._session.send_beat(now, trace_context)
        if beat is None:
            self._beats.drop(sequence)
            return
        self._outbox.put(codec.encode(beat), beat.sequence)

    def _end(self, why: str, cause: FailureCause = "lost") -> None:
        with self._owner._lock:
            self._session.stream_closed(clock(), why, cause)
        self._after()

    def _after(self, events: Iterable[Event] = ()) -> None:
        """Do what every change of the session asks for: set the alarm or end the sending, and tell of it."""
        owner = self._owner
        with owner._lock:
            events = [*events, *self._session.take_events()]
            wakeup = self._session.next_wakeup()
            if wakeup is not None:
                self._alarm.arm(wakeup)
            owner._client.publish(events)
            owner._delivery.queue(events, self._beats)
        if wakeup is None and not self._ending:
            self._ending = True
            self._alarm.cancel()
            self._outbox.close()
            self._grace.arm(clock())
        owner._delivery.deliver()


def _status(error: grpc.RpcError) -> tuple[grpc.StatusCode | None, str | None]:
    if isinstance(error, grpc.Call):
        return error.code(), error.details()
    return None, str(error)


def _observer_failed(_observer: Observer, error: Exception) -> None:
    _faults.record("heartbeat.observer", error)
