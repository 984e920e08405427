"""A heartbeat over its streams: opens one after the other, judges the peer, and moves the breaker, until it is closed.

This is where the parts without I/O meet. What the driver does: ``opening`` before each stream; ``publish`` with what its
session's ``take_events`` returns, ``written`` and ``write_failed`` with what the transport reports of a beat, and
``transport_answered`` with any other proof that the peer's transport is alive; ``wake`` at ``next_wakeup``; once the stream is
``given_up``, it closes its session; and ``pause`` after the stream: the seconds before the next one, or ``None`` to stop.
``close`` ends it all.

What these return is to be delivered: the events that were given and those that follow from them (of verdict, sides, suspended
judgement and breaker), in order. One thread at a time; ``snapshot``, ``snapshot_at`` and ``breaker`` may be read by any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from grpc_heartbeat.config import BreakerPolicy, HeartbeatPolicy, Identity
from grpc_heartbeat.core.backoff import Backoff, Pauses, TableBackoff
from grpc_heartbeat.core.beat_breaker import BeatBreaker
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.heartbeat import ClientSession
from grpc_heartbeat.core.heartbeat_events import (
    BeatAcked,
    BeatSent,
    HeartbeatClosed,
    LevelChanged,
    PeerLeft,
    StreamClosed,
    StreamFailed,
    StreamOpened,
    StreamOpening,
)
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot, HeartbeatState, HeartbeatStatus
from grpc_heartbeat.core.judge import Judge
from grpc_heartbeat.core.lateness import LocalPauses
from grpc_heartbeat.core.levels import Level, Levels
from grpc_heartbeat.core.verdicts import JudgePolicy


class HeartbeatClient:
    """The life of one heartbeat; it outlives its streams.

    Args:
        random: Returns a number in [0, 1), for the jitter of the back-off.
        phase: Of the slots of all of its streams, as ``ClientSession`` takes it.
        pauses: Those of the thread or loop that drives this; default: none are known.
        breaker: The policy of the breaker that this heartbeat moves. Default: there is none.

    Attributes:
        breaker: The breaker, or ``None``.
    """

    def __init__(
        self,
        policy: HeartbeatPolicy,
        identity: Identity,
        now: float,
        random: Callable[[], float],
        *,
        phase: float | None = None,
        pauses: LocalPauses | None = None,
        breaker: BreakerPolicy | None = None,
    ) -> None:
        self._policy = policy
        self._identity = identity
        self._phase = phase
        self._now = now
        self._status = HeartbeatStatus(now)
        self._judge = Judge(JudgePolicy.of(policy), LocalPauses() if pauses is None else pauses, now)
        self.breaker = None if breaker is None else BeatBreaker(breaker, self._judge, random, now)
        self._backoff: Pauses = (
            Backoff(policy.reconnect_min, policy.reconnect_max, random)
            if policy.backoff is None
            else TableBackoff(random, policy.backoff)
        )
        self._levels = Levels(policy.fallback, random)
        self._unsupported = False
        self._closed = False

    @property
    def state(self) -> HeartbeatState:
        """What the heartbeat is doing."""
        return self._status.state

    @property
    def snapshot(self) -> HeartbeatSnapshot:
        """What was known at the last event."""
        return self.snapshot_at(self._now)

    def snapshot_at(self, now: float) -> HeartbeatSnapshot:
        """Return what is known at ``now``."""
        return self._status.snapshot(self._judge.judgement(now))

    def use_pauses(self, pauses: LocalPauses) -> None:
        """Excuse the peer for ``pauses`` from now on. To be called before the first stream, by who learns late of its loop."""
        self._judge.pauses = pauses

    def begin_at(self, level: Level) -> None:
        """Ask the peer at ``level`` first, instead of by heartbeats. To be called before the first stream."""
        self._levels.begin_at(level)
        self._status.level = level

    @property
    def level(self) -> Level:
        """How the stream that is opened, or open, asks the peer."""
        return self._levels.level

    def may_rise(self, now: float) -> bool:
        """Tell whether to leave the present stream, because the peer may know a better level by now."""
        retry_at = self._levels.retry_at
        return retry_at is not None and now >= retry_at

    @property
    def given_up(self) -> bool:
        """Whether the present stream is to be left, because the breaker opened on it."""
        return self.breaker is not None and self.breaker.given_up

    def opening(self, now: float) -> tuple[ClientSession, Event]:
        """Return the session of a new stream, for which see :attr:`level`, and the event that tells of it."""
        self._levels.opening()
        return ClientSession(self._policy, self._identity, now, phase=self._phase), StreamOpening(now)

    def publish(self, events: Iterable[Event]) -> list[Event]:
        """Learn from events of the present session; return them and those that follow from them."""
        told: list[Event] = []
        for event in events:
            self._now = event.at
            self._judge.apply(event)
            self._status.apply(event, self._judge.verdict)
            told.append(event)
            if isinstance(event, BeatAcked):
                self._backoff.reset()
            elif not isinstance(event, BeatSent):
                told += self._move_level(event)
            if self.breaker is not None:
                self.breaker.apply(event)
            self._collect(told)
        return told

    def _move_level(self, event: Event) -> list[Event]:
        now, levels = event.at, self._levels
        if isinstance(event, StreamOpened):
            before = levels.opened(now)
            if before is not None:
                changed = LevelChanged(now, levels.level, before)
                self._status.apply(changed, self._judge.verdict)
                return [changed]
        elif isinstance(event, StreamFailed) and event.cause == "unsupported":
            self._unsupported = not levels.unsupported()
        elif isinstance(event, (StreamFailed, StreamClosed, PeerLeft)):
            levels.left()
        return []

    def written(self, now: float) -> list[Event]:
        """Note that the transport took the beat that was sent last."""
        judge = self._judge
        judge.written(now)
        return self._judged(now) if judge.news else []

    def write_failed(self, now: float, why: str) -> list[Event]:
        """Note that the transport refused a frame."""
        self._judge.write_failed(now, why)
        return self._judged(now)

    def transport_answered(self, now: float) -> list[Event]:
        """Note proof that the peer's transport is alive, such as that a fresh connection was accepted."""
        self._judge.transport_answered(now)
        return self._judged(now)

    def next_wakeup(self, now: float) -> float | None:
        """Return the instant at which to call :meth:`wake`, or ``None`` while nothing is awaited. Ask after each change."""
        if self._closed:
            return None
        wakeup = self._judge.next_wakeup(now)
        for other in (None if self.breaker is None else self.breaker.next_wakeup(now), self._levels.retry_at):
            if wakeup is None or (other is not None and other < wakeup):
                wakeup = other
        return wakeup

    def wake(self, now: float) -> list[Event]:
        """Judge what is overdue at ``now``; returns the events to deliver."""
        self._judge.wake(now)
        if self.breaker is not None:
            self.breaker.wake(now)
        return self._judged(now)

    def pause(self) -> float | None:
        """Return the seconds to wait after a stream before the next, or ``None`` if there is to be none."""
        if self._closed or self._unsupported:
            return None
        if self._levels.steps_down:
            return 0.0
        pause = self._backoff.pause()
        return pause if self.breaker is None else self.breaker.pause(pause, self._now)

    def close(self, now: float, why: str) -> Event | None:
        """Close for good; returns the event that tells of it, the first time."""
        if self._closed:
            return None
        self._closed = True
        event = HeartbeatClosed(now, why)
        self.publish([event])
        return event

    def _judged(self, now: float) -> list[Event]:
        self._now = now
        self._status.judged(now, self._judge.verdict)
        if self.breaker is not None:
            self.breaker.judged(now)
        told: list[Event] = []
        self._collect(told)
        return told

    def _collect(self, told: list[Event]) -> None:
        told += self._judge.take_events()
        if self.breaker is not None:
            told += self.breaker.take_events()
