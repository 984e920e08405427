"""Heartbeats on a synchronous channel.

One reader thread lives as long as the heartbeat; gRPC adds one that feeds requests while a stream is open. Beats and time-outs
come from the process's one timer thread. Each stream's state is a ``ClientSession`` behind one lock; nothing of gRPC or of
observers is called while it is held.
"""

from __future__ import annotations

import random
import threading
import weakref
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._call_events import beat_events
from grpc_heartbeat._timers import clock
from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.events import Event, Observers
from grpc_heartbeat.core.heartbeat_client import HeartbeatClient
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot
from grpc_heartbeat.heartbeat import calls
from grpc_heartbeat.heartbeat.delivery import OrderedDelivery
from grpc_heartbeat.heartbeat.stream import SyncStream
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
        self.observers = Observers(calls.observer_failed)
        self.owner: weakref.ref[Any] | None = None
        """Set by a channel: once it is gone, nobody can close the heartbeat any more, and its next event ends it."""
        self._open_stream: Any = channel.stream_stream(calls.KEEPALIVE)
        self._client = HeartbeatClient(self.policy, self.identity, clock(), random.random)
        self._tracing = BeatTracing(self.identity, self.policy.type, tracer_provider)
        self._delivery: OrderedDelivery[ClientBeats | None] = OrderedDelivery(self._tell)
        self._lock = threading.Lock()
        self._stream: SyncStream | None = None
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
        self._leave()
        with self._lock:
            thread = self._thread
        if thread is threading.current_thread():
            return  # an observer closes: the reader ends as soon as it gets control back
        if thread is not None:
            thread.join(_JOIN_LIMIT)
        self._finish("closed")

    def _leave(self) -> None:
        self._closing.set()
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.say_goodbye()

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
            except calls.ChannelClosedError as error:
                return str(error)
            pause = self._client.pause()
            if pause is None:
                return None
            self._closing.wait(pause)
        return "closed"

    def _one_stream(self) -> None:
        session, opening = self._client.opening(clock())
        beats = self._tracing.stream()
        stream = SyncStream(session, beats, lock=self._lock, record=self._record, deliver=self._delivery.deliver)
        with self._lock:
            self._stream = stream
            self._record([opening], beats)
        if self._closing.is_set():
            stream.say_goodbye()
        try:
            stream.run(self._open_stream)
        finally:
            with self._lock:
                self._stream = None

    def _finish(self, why: str) -> None:
        with self._lock:
            event = self._client.close(clock(), why)
        if event is not None:
            self._delivery.queue([event], None)
            self._delivery.deliver()

    def _record(self, events: list[Event], beats: ClientBeats) -> None:
        self._client.publish(events)
        self._delivery.queue(events, beats)

    def _tell(self, event: Event, beats: ClientBeats | None) -> None:
        if beats is not None:
            beats.observe(event)
        if self.observers:
            self.observers.emit(event)
        if beat_events:
            calls.tell_all(self, event, beats)
        if self.owner is not None and self.owner() is None and not self._closing.is_set():
            self._leave()
