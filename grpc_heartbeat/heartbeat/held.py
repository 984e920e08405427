"""What the heartbeat streams of one server have in common, in both stacks: their places, their limits and what was counted."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._weak import listed
from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.events import Event, Observer, Observers
from grpc_heartbeat.core.frames import GOODBYE_KEY
from grpc_heartbeat.core.heartbeat_server import LOOK, Condition, ServerSession
from grpc_heartbeat.core.held_events import ClientLost
from grpc_heartbeat.core.held_report import Engine, HeldReport
from grpc_heartbeat.core.stream_limits import Places, StreamLimits, excess_metadata, host_of
from grpc_heartbeat.health import HealthBoard
from grpc_heartbeat.heartbeat.beat_spans import Tracing
from grpc_heartbeat.telemetry.server_beats import ServerBeats

_SHARED = 1_024

_all: weakref.WeakSet[HeldStreams] = weakref.WeakSet()


class HeldStreams:
    """The streams of one server. Safe to be used by several threads.

    Args:
        max_streams: Streams at a time.
        limits: What clients may do.
        beats: The server beats on each stream, by this policy.
        condition: Says how the server is now.
        traced: A tracer provider was given to ``spans``.

    Attributes:
        engine: How they are moved.
        look: Seconds between looks at a stream of which nothing is due.
        observers: Those who hear of clients (``core/held_events.py``).
    """

    def __init__(
        self,
        board: HealthBoard,
        identity: Identity,
        spans: ServerBeats,
        engine: Engine,
        *,
        max_streams: int,
        limits: StreamLimits | None = None,
        beats: HeartbeatPolicy | None = None,
        condition: Callable[[], Condition] = Condition,
        traced: bool = False,
    ) -> None:
        self.board = board
        self.identity = identity
        self.spans = spans
        self.engine: Engine = engine
        self.limits = limits or StreamLimits()
        self.frame_bytes = self.limits.frame_bytes
        self.look = min(LOOK, self.limits.unread)
        self.beats = beats
        self.observers = Observers(_failed)
        self.tracing = Tracing(traced)
        self.condition = condition
        self._peers: dict[Identity, Identity] = {}
        self._lock = threading.Lock()
        self._places = Places(max_streams, self.limits)
        self._opened = self._refused = self._cut = self._oversized = self._unexpected = 0
        board.heartbeats = (*board.heartbeats, self)
        _all.add(self)

    def report(self) -> HeldReport:
        """Return what was counted so far."""
        with self._lock:
            return HeldReport(
                self.engine,
                self._places.taken,
                self._opened,
                self._refused,
                self._cut,
                self._oversized,
                self._unexpected,
            )

    def admit(self, context: Any) -> tuple[str, str | None]:
        """Take a place for a stream; return its host, for :meth:`leave`, and why it is refused, if it is."""
        host = host_of(context.peer())
        excess = excess_metadata(context.invocation_metadata() or (), self.limits)
        with self._lock:
            excess = excess or self._places.take(host)
            if excess is None:
                self._opened += 1
            else:
                self._refused += 1
        return host, excess

    def refuse(self) -> None:
        """Count a stream that was refused otherwise."""
        with self._lock:
            self._refused += 1

    def leave(self, host: str, session: ServerSession) -> None:
        """Give the place of a stream back."""
        with self._lock:
            self._places.leave(host)
            self._unexpected += session.unexpected_frames

    def session(self, context: Any, now: float) -> ServerSession:
        """Return the session of a new stream."""
        hears = any(key == GOODBYE_KEY for key, _ in context.invocation_metadata() or ())
        return ServerSession(
            self.identity,
            limits=self.limits,
            beats=self.beats,
            hears_trailers=hears,
            now=now,
        )

    def known(self, identity: Identity) -> Identity:
        """Return an identity that is equal to this one and may be shared: connections of one process have the same."""
        if len(self._peers) >= _SHARED:
            self._peers.clear()
        return self._peers.setdefault(identity, identity)

    def oversized(self) -> None:
        """Count a frame that was too large."""
        with self._lock:
            self._oversized += 1

    def count(self, events: Iterable[Event]) -> None:
        """Count what happened to a client."""
        lost = sum(isinstance(event, ClientLost) for event in events)
        with self._lock:
            self._cut += lost

    def tell(self, events: Iterable[Event]) -> None:
        """Tell the observers what happened to a client."""
        for event in events:
            self.observers.emit(event)


def all_held() -> list[HeldStreams]:
    """Return those of each server of this process."""
    return listed(lambda: _all)


def held_reports() -> list[HeldReport]:
    """Return what the heartbeat streams of each server of this process do."""
    return [held.report() for held in all_held()]


def status_of(session: ServerSession) -> tuple[grpc.StatusCode, str]:
    """Return what to end a stream with."""
    if session.refusal is not None:
        return grpc.StatusCode.RESOURCE_EXHAUSTED, session.refusal
    return grpc.StatusCode.OK, ""


def _failed(_observer: Observer, error: Exception) -> None:
    _faults.record("heartbeat.observer", error)
