"""A heartbeat over its streams: opens one after the other, with back-off, until it is closed or the peer knows no heartbeats.

What the driver does: ``opening`` before each stream; ``publish`` with what its session's ``take_events`` returns, and delivers
what that returns; ``wake`` at ``next_wakeup``, and delivers that, too; and ``pause`` after the stream: the seconds before the
next one, or ``None`` to stop. ``close`` ends it all.
"""

from __future__ import annotations

from collections.abc import Callable

from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.backoff import Backoff, Pauses, TableBackoff
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.heartbeat import ClientSession
from grpc_heartbeat.core.heartbeat_events import BeatAcked, HeartbeatClosed, StreamFailed, StreamOpening
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot, HeartbeatStatus


class HeartbeatClient:
    """The life of one heartbeat; it outlives its streams.

    Args:
        random: Returns a number in [0, 1), for the jitter of the back-off.
        phase: Of the slots of all of its streams, as ``ClientSession`` takes it.
    """

    def __init__(
        self,
        policy: HeartbeatPolicy,
        identity: Identity,
        now: float,
        random: Callable[[], float],
        *,
        phase: float | None = None,
    ) -> None:
        self._policy = policy
        self._identity = identity
        self._phase = phase
        self._status = HeartbeatStatus(now)
        self._backoff: Pauses = (
            Backoff(policy.reconnect_min, policy.reconnect_max, random)
            if policy.backoff is None
            else TableBackoff(random, policy.backoff)
        )
        self._unsupported = False
        self._closed = False

    @property
    def snapshot(self) -> HeartbeatSnapshot:
        """What is known now."""
        return self._status.snapshot

    def opening(self, now: float) -> tuple[ClientSession, Event]:
        """Return the session of a new stream and the event that tells of it."""
        return ClientSession(self._policy, self._identity, now, phase=self._phase), StreamOpening(now)

    def publish(self, events: list[Event]) -> list[Event]:
        """Learn from events of the present session; return the events to deliver."""
        for event in events:
            self._status.apply(event)
            if isinstance(event, BeatAcked):
                self._backoff.reset()
            elif isinstance(event, StreamFailed) and event.cause == "unsupported":
                self._unsupported = True
        return events

    def next_wakeup(self, now: float) -> float | None:
        """Return the instant at which to call :meth:`wake`, or ``None`` if nothing but streams is waited for."""
        return None

    def wake(self, now: float) -> list[Event]:
        """Do what is due at ``now`` whatever the streams do; return the events to deliver."""
        return []

    def pause(self) -> float | None:
        """Return the seconds to wait after a stream before the next, or ``None`` if there is to be none."""
        return None if self._closed or self._unsupported else self._backoff.pause()

    def close(self, now: float, why: str) -> Event | None:
        """Close for good; returns the event that tells of it, the first time."""
        if self._closed:
            return None
        self._closed = True
        event = HeartbeatClosed(now, why)
        self._status.apply(event)
        return event
