"""Beats for peers that know no heartbeats: streams that speak heartbeat to us and ``grpc.health.v1`` to the peer.

Theory of operation
-------------------
To its heartbeat this is a stream like any other (``streams.py``), so session, judge and breaker need not know of it. Each beat
that is sent becomes a health Check of the whole server, and its answer an ack that says what the Check said. A beat whose Check
is not answered in time gets no ack. What a stream is opened by depends on its level (``core/levels.py``):

- ``WATCH``: by a Watch, whose first message opens it. The later ones are acks of no beat, which tell of a change of status at
  once. The Watch itself proves nothing by its silence, therefore the Checks.
- ``CHECK``, ``TRANSPORT``: by a Check, whose answer opens it.

Whatever a peer's application answers shows that it is there: also that it knows no such service (NOT_FOUND, SERVICE_UNKNOWN),
or that it will not say. Only UNIMPLEMENTED ends a stream of the upper two levels, and so it leads one level down; to that of
the lowest it is the answer, and a better one ends it, because the peer was upgraded. What gRPC's transport says by itself
(UNAVAILABLE, INTERNAL) ends any stream, and it is opened anew after a pause.

``fallback.py`` and ``fallback_aio.py`` say how each stack makes a Check.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from grpc_heartbeat.config import HeartbeatPolicy
from grpc_heartbeat.core.frames import Ack, Beat, Goodbye, ServingStatus
from grpc_heartbeat.core.levels import Level
from grpc_heartbeat.heartbeat import codec
from grpc_heartbeat.heartbeat.streams import Listener, Stream

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"

_WHOLE_SERVER = b""
"""A request that names no service, as bytes."""

_SERVING = {
    health_pb2.HealthCheckResponse.SERVING: ServingStatus.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING: ServingStatus.NOT_SERVING,
}
_OUT_OF_TIME = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)

Opener = Callable[[Any, Listener], Stream]


class HealthStream:
    """A ``Stream``.

    Args:
        channel: On which to ask.
        level: Any but ``HEARTBEAT``.
        policy: How long the beats are waited for.
        listener: Whom to report to.
        open_stream: Makes a stream of a multicallable, for the Watch.
    """

    def __init__(
        self, channel: Any, level: Level, policy: HeartbeatPolicy, listener: Listener, open_stream: Opener
    ) -> None:
        self._level = level
        self._listener = listener
        self._limit = policy.beat_timeout
        self._opening_limit = policy.misses * policy.interval
        self._check: Any = channel.unary_unary(CHECK)
        self._watch = None if level is not Level.WATCH else open_stream(channel.stream_stream(WATCH), self)
        self._ending = threading.Lock()  # held for ever by whoever reports the end

    def start(self) -> None:
        if self._watch is None:
            self._ask(0, self._opening_limit)
        else:
            self._watch.send(_WHOLE_SERVER)
            self._watch.finish()
            self._watch.start()

    def send(self, data: bytes, number: int = 0) -> None:
        frame = codec.decode(data)
        if isinstance(frame, Beat) and not self._ending.locked():
            self._ask(frame.sequence, self._limit)
            if number:
                self._listener.written(self, number)
        elif isinstance(frame, Goodbye):  # to a peer that would not understand it
            self.finish()

    def finish(self) -> None:
        self._end(grpc.StatusCode.OK, None)

    def cancel(self) -> None:
        self._end(grpc.StatusCode.CANCELLED, None)

    def _ask(self, sequence: int, limit: float) -> None:
        """Make a Check that is given up after ``limit`` seconds, and report by :meth:`_answered` or :meth:`_end`."""
        raise NotImplementedError

    def _give_up(self) -> None:
        """End the Checks under way, of which nobody wants to know any more."""
        raise NotImplementedError

    def _answered(self, sequence: int, code: grpc.StatusCode, details: str | None, data: bytes = b"") -> None:
        """Take in the end of the Check for the beat ``sequence``."""
        lowest = self._level is Level.TRANSPORT
        if code in _LOST or (code is grpc.StatusCode.UNIMPLEMENTED and not lowest):
            self._end(code, details)
            return
        if code in _OUT_OF_TIME or self._ending.locked():
            return
        known = code is grpc.StatusCode.OK
        self._ack(sequence, status_of(data) if known else ServingStatus.UNKNOWN)
        if known and lowest:
            self.cut_off(self, "the peer knows more than it did")

    def _ack(self, sequence: int, status: ServingStatus) -> None:
        self._listener.received(self, codec.encode(Ack(sequence, status)))

    def _end(self, code: grpc.StatusCode | None, details: str | None) -> None:
        if self._ends():
            self._listener.ended(self, code, details)

    def _ends(self) -> bool:
        """Leave everything, and tell whether it is for the caller to report that."""
        if not self._ending.acquire(blocking=False):
            return False
        if self._watch is not None:
            self._watch.cancel()
        self._give_up()
        return True

    # What the Watch reports.

    def received(self, stream: Stream, data: bytes) -> None:
        if not self._ending.locked():
            self._ack(0, status_of(data))

    def written(self, stream: Stream, number: int) -> None:
        """Ignore it: nothing is waited for."""

    def ended(self, stream: Stream, code: grpc.StatusCode | None, details: str | None) -> None:
        self._end(code, details)

    def cut_off(self, stream: Stream, why: str) -> None:
        if self._ends():
            self._listener.cut_off(self, why)

    def channel_closed(self, stream: Stream, error: Exception) -> None:
        if self._ends():
            self._listener.channel_closed(self, error)


def status_of(data: bytes) -> ServingStatus:
    """Return what a HealthCheckResponse says; UNKNOWN for a service that is not known, and for what is none."""
    try:
        return _SERVING.get(health_pb2.HealthCheckResponse.FromString(data).status, ServingStatus.UNKNOWN)
    except DecodeError:
        return ServingStatus.UNKNOWN
