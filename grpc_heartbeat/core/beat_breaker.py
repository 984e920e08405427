"""A breaker that one heartbeat moves: what its events, and the judge's verdict on them, mean to it.

Rules. Only what a connection of the present generation said counts, and the generation of a stream is the one in which it was
opened. An answer (an echo, a goodbye, a refusal, even that the peer knows no heartbeats) closes the breaker, unless the peer is
convicted all the same, as one is whose echoes say that work waits without end. A miss or a conviction opens it. Misses and
time-outs that are found while this process did not run are no evidence.

The probe is the next stream: opening it makes the breaker half open, and its first answer decides. One that gives none within
``BreakerPolicy.probe_timeout`` has failed. So while the breaker is closed, no conviction is in force. The stream on which the
breaker opened is *given up*, even if the peer answers on it after all: it would keep the probe from being made.
"""

from __future__ import annotations

from collections.abc import Callable

from grpc_heartbeat.config import BreakerPolicy
from grpc_heartbeat.core.breaker import Breaker, BreakerSnapshot, BreakerState, Probe, ProbeOutcome
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.heartbeat_events import (
    BeatAcked,
    BeatMissed,
    HeartbeatClosed,
    PeerLeft,
    StreamClosed,
    StreamFailed,
    StreamOpening,
)
from grpc_heartbeat.core.judge import Judge


class BeatBreaker:
    """The breaker of the heartbeat that ``judge`` judges; hand it each event after the judge has seen it.

    Args:
        random: Returns a number in [0, 1), for the jitter of the back-off.
    """

    __slots__ = ("_breaker", "_generation", "_judge", "_policy", "_probe", "_probe_since")

    def __init__(self, policy: BreakerPolicy, judge: Judge, random: Callable[[], float], now: float) -> None:
        self._policy = policy
        self._judge = judge
        self._breaker = Breaker(policy, random, now)
        self._generation = 0
        self._probe: Probe | None = None
        self._probe_since = now

    @property
    def snapshot(self) -> BreakerSnapshot:
        """The breaker now; from any thread."""
        return self._breaker.snapshot

    @property
    def given_up(self) -> bool:
        """Whether the breaker has opened since the present stream was opened: nothing that it says counts any more."""
        return self._generation != self._breaker.generation

    def refusal(self, now: float) -> str:
        """Return what a call is told that is not let through."""
        return self._breaker.refusal(now)

    def take_events(self) -> list[Event]:
        """Return what happened since the last call, oldest first."""
        return self._breaker.take_events()

    def pause(self, pause: float, now: float) -> float:
        """Return the seconds to wait before the next stream, where the heartbeat alone would wait for ``pause``."""
        known = self.snapshot
        if known.retry_at is not None:
            return max(0.0, known.retry_at - now)
        return pause if known.closed else min(pause, self._policy.open_max)

    def apply(self, event: Event) -> None:
        """Take in an event of the heartbeat."""
        now = event.at
        if isinstance(event, BeatAcked):
            self._answered(now)
        elif isinstance(event, BeatMissed):
            if self._judge.pauses.suspended_by(now) is None:
                self._breaker.missed(self._generation, now, event.why)
        elif isinstance(event, StreamOpening):
            self._opening(now)
        elif isinstance(event, StreamFailed):
            if event.cause in ("unsupported", "refused"):
                self._answered(now)
            else:
                self._failed(event)
        elif isinstance(event, PeerLeft):
            self._answered(now)
        elif isinstance(event, (StreamClosed, HeartbeatClosed)):
            self._give_up(now)
        self.judged(now)

    def judged(self, now: float) -> None:
        """Open if the judge has convicted the peer."""
        judge = self._judge
        if judge.verdict.convicts and self._breaker.snapshot.closed:
            self._breaker.convict(self._generation, now, judge.why, silent=judge.silent)

    def next_wakeup(self, now: float) -> float | None:
        """Return the instant at which to call :meth:`wake`; ``None`` unless a probe is under way."""
        if self._probe is None:
            return None
        since = self._probe_since
        return since + self._policy.probe_timeout + self._judge.pauses.excused(since, now)

    def wake(self, now: float) -> None:
        """Give up a probe that has taken too long."""
        due = self.next_wakeup(now)
        if due is not None and now >= due:
            self._probe = None
            self._judge.gave_up(now, f"no answer within {self._policy.probe_timeout:g} s on a fresh connection")
            self._breaker.convict(self._generation, now, self._judge.why)

    def _opening(self, now: float) -> None:
        known = self.snapshot
        self._give_up(now)
        self._generation = known.generation
        # The driver opens the stream when the pause is over by its clock, which may be a moment early.
        self._probe = self._breaker.probe(now if known.retry_at is None else max(now, known.retry_at))
        self._probe_since = now

    def _answered(self, now: float) -> None:
        probe, self._probe = self._probe, None
        if self._judge.verdict.convicts:
            self._breaker.convict(self._generation, now, self._judge.why, silent=self._judge.silent)
        elif probe is not None:
            self._breaker.probed(probe, ProbeOutcome.OK, now)
        else:
            self._breaker.acked(self._generation, now)

    def _failed(self, event: StreamFailed) -> None:
        now = event.at
        excused = event.cause == "silent" and self._judge.pauses.excused(self._probe_since, now) > 0
        if event.cause == "unclear" or excused:
            self._give_up(now)
            return
        self._probe = None
        if self.snapshot.state is BreakerState.HALF_OPEN:
            self._breaker.convict(self._generation, now, event.why)

    def _give_up(self, now: float) -> None:
        probe, self._probe = self._probe, None
        if probe is not None:
            self._breaker.probed(probe, ProbeOutcome.CANCELLED, now)
