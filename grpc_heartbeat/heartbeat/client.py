"""Heartbeats on a synchronous channel.

Beats and time-outs come from the process's timer thread. What the peer sends comes from the thread that serves the calls of the
channel (``_grpcio_client_stream.py``), or where only public API may be used, from a thread of its own (``stream.py``). Spans
end on these threads, at once; observers are called on the timer thread, up to 5 ms later (``delivery.py``).
"""

from __future__ import annotations

import os
import threading
from typing import Any

import grpc

from grpc_heartbeat._call_events import beat_events
from grpc_heartbeat._grpcio_at_once import state_reader
from grpc_heartbeat._grpcio_client_stream import CompletionStream, method_of
from grpc_heartbeat._ticks import Ticks, ticks
from grpc_heartbeat._timers import clock
from grpc_heartbeat.channel.connection import READY
from grpc_heartbeat.config import BreakerPolicy, HeartbeatPolicy, Identity
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.levels import Level
from grpc_heartbeat.heartbeat import calls
from grpc_heartbeat.heartbeat.delivery import teller
from grpc_heartbeat.heartbeat.driver import Heartbeat
from grpc_heartbeat.heartbeat.stream import PublicStream
from grpc_heartbeat.heartbeat.streams import Listener, Stream
from grpc_heartbeat.telemetry.beats import ClientBeats

_JOIN_LIMIT = 5.0


class SyncHeartbeat(Heartbeat):
    """A heartbeat on a ``grpc.Channel``: opens a Keepalive stream, beats on it, and opens a new one when it fails, for ever.

    Args:
        channel: Any channel. The stream is opened in an empty context, with no time-out and without waiting for readiness.
        policy: When to beat and when to give up. Default: ``HeartbeatPolicy()``.
        identity: Who this process is. Default: ``Identity()``.
        name: Of threads and in log lines, usually the target.
        tracer_provider: OpenTelemetry's, for the spans of beats. Default: the global one.
        breaker: The policy of the breaker that this moves, for a channel that is guarded by one. Default: there is none.

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
        breaker: BreakerPolicy | None = None,
    ) -> None:
        super().__init__(policy, identity, name, tracer_provider, clock(), threading.Lock(), breaker)
        self._process = os.getpid()
        self._ended_all: threading.Event | None = None
        self._use(channel)

    def start(self) -> None:
        """Begin. Calling it again, or after :meth:`close`, does nothing."""
        if not self._started:
            self._client.use_pauses(ticks().pauses)
        self._start()

    def move(self, channel: grpc.Channel, after: float = 0.0) -> None:
        """Leave the present stream and open the next one on ``channel`` in ``after`` seconds; from any thread.

        The heartbeat stays what it is: its identity, observers and snapshot. It begins if it was not started, and does nothing
        once it is closed.
        """
        self._use(channel)
        if not self._started:
            self._client.use_pauses(ticks().pauses)
        self._started = True
        self._leave(clock(), "moved to another channel", after)

    def close(self) -> None:
        """Say goodbye and end the stream. Never blocks for longer than a few seconds; idempotent.

        An observer that calls this is not kept waiting for the end of the stream.
        """
        if self._process != os.getpid():  # the streams are the parent's, and whoever had the lock is not here
            self._closing = True
            return
        ended = self._ended_all = self._ended_all or threading.Event()
        self._close("closed")
        self._rest()
        if not teller.telling():
            ended.wait(_JOIN_LIMIT)
            teller.flush(_JOIN_LIMIT)

    def _use(self, channel: Any) -> None:
        self._channel = channel
        self._open_stream: Any = channel.stream_stream(calls.KEEPALIVE)
        self._method = method_of(self._open_stream)
        self._read_state = state_reader(channel)

    def _now(self) -> float:
        return clock()

    def _wheel(self) -> Ticks:
        return ticks()

    def _new_stream(self) -> Stream:
        level = self._client.level
        if level is Level.HEARTBEAT:
            return self._stream_of(self._open_stream, self)
        from grpc_heartbeat.heartbeat.fallback import SyncHealthStream

        return SyncHealthStream(self._channel, level, self.policy, self, self._stream_of)

    def _stream_of(self, open_stream: Any, listener: Listener) -> Stream:
        method = self._method if open_stream is self._open_stream else method_of(open_stream)
        if method is not None:
            return CompletionStream(method, listener)
        return PublicStream(open_stream, listener, f"grpc-heartbeat {self.name}".rstrip())

    def _ready(self) -> bool | None:
        try:
            return None if self._read_state is None else self._read_state(False) == READY
        except ValueError:  # closed: the stream will say so
            return None

    def _tell(self, event: Event, beats: ClientBeats | None) -> None:
        if self.guard is not None:
            self.guard(event)
        self._tracing.observe(event, beats)
        if self.observers:
            teller.tell(lambda: self.observers.emit(event))
        if beat_events:
            news = calls.news(self, event, beats)
            teller.tell(lambda: beat_events.emit(news))

    def _gone(self) -> None:
        if self._ended_all is not None:
            self._ended_all.set()
