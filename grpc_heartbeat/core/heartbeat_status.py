"""What is known about a peer from its heartbeats, folded from their events and the judge's verdict.

Rules. There is one truth, the verdict; ``state`` is what it means for the heartbeat itself, and adds why there is none:

    verdict              state
    UP, OVERLOADED       up
    LATE                 late
    DOWN, STUCK          down
    REOPEN               connecting; ``draining`` after the peer said so; ``unsupported`` after a refusal, which is no illness
    (whatever it was)    unsupported, for a peer that knows no heartbeats; ``closed``, once its owner has closed it

A beat costs a few stores here. The snapshot is put together when somebody looks, without a lock: each figure is right, and
verdict and state are of one instant; counters may be a beat apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from grpc_heartbeat.config import Identity
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import Ack, GoodbyeReason, Load, ServingStatus
from grpc_heartbeat.core.heartbeat_events import (
    BeatAcked,
    BeatMissed,
    BeatSent,
    HeartbeatClosed,
    LateEcho,
    LevelChanged,
    PeerIdentified,
    PeerLeft,
    ServingTold,
    StreamFailed,
    StreamOpened,
)
from grpc_heartbeat.core.levels import Level
from grpc_heartbeat.core.rtt import RttStats, RttWindow
from grpc_heartbeat.core.verdicts import Judgement, Side, Verdict

HeartbeatState: TypeAlias = Literal["connecting", "up", "late", "down", "draining", "unsupported", "closed"]

_STATES: dict[Verdict, HeartbeatState] = {
    Verdict.UP: "up",
    Verdict.OVERLOADED: "up",
    Verdict.LATE: "late",
    Verdict.STUCK: "down",
    Verdict.DOWN: "down",
    Verdict.REOPEN: "connecting",
}


@dataclass(frozen=True, slots=True)
class HeartbeatSnapshot:
    """A heartbeat at one instant. Instants are monotonic seconds, durations seconds.

    ``since``: when ``state`` was entered. ``sequence``: of the last beat on the present stream. ``consecutive_misses``: beats
    missed since the last echo. ``peer``, ``serving``, ``load``: as the peer last said. ``streams``: streams that opened.
    ``last_error``: why the last stream ended, or ``""``. ``failures``: streams that failed since the last echo.

    ``level``: how the peer is asked, which depends on what it knows; below ``HEARTBEAT`` the beats are health Checks, and with
    ``STRATEGY`` whatever a strategy makes of them.

    ``verdict``: what is thought of the peer, from ``verdict_since`` on, because of ``why``. ``write``, ``echo``: whether what
    we send is taken, and answered in time; ``operational``: whether both are. ``phi``: how suspicious the silence is now, 0
    while nothing is awaited. ``suspended``: seconds of that silence in which this process itself did not run, and for which
    nobody is blamed.
    """

    state: HeartbeatState
    since: float
    last_rtt: float | None = None
    rtt: RttStats | None = None
    sequence: int = 0
    consecutive_misses: int = 0
    peer: Identity | None = None
    serving: ServingStatus = ServingStatus.UNKNOWN
    load: Load | None = None
    streams: int = 0
    beats: int = 0
    acked: int = 0
    missed: int = 0
    late_echoes: int = 0
    last_error: str = ""
    failures: int = 0
    verdict: Verdict = Verdict.REOPEN
    verdict_since: float = 0.0
    why: str = ""
    write: Side = Side.STALE
    echo: Side = Side.STALE
    phi: float = 0.0
    suspended: float = 0.0
    level: Level = Level.HEARTBEAT

    @property
    def operational(self) -> bool:
        """Whether both sides are alive."""
        return self.write is Side.ALIVE and self.echo is Side.ALIVE


class HeartbeatStatus:
    """Keeps what is known; begins at ``now``."""

    __slots__ = (
        "_acked",
        "_beats",
        "_failures",
        "_last",
        "_last_error",
        "_late_echoes",
        "_missed",
        "_misses",
        "_over",
        "_peer",
        "_rtts",
        "_sequence",
        "_serving",
        "_since",
        "_streams",
        "level",
    )

    def __init__(self, now: float) -> None:
        self._since: tuple[HeartbeatState, float] = ("connecting", now)
        self._over: HeartbeatState | None = None
        self._last: tuple[float, Ack] | None = None
        self._peer: Identity | None = None
        self._rtts = RttWindow()
        self._beats = self._acked = self._missed = self._misses = self._late_echoes = 0
        self._streams = self._sequence = self._failures = 0
        self._last_error = ""
        self.level = Level.HEARTBEAT
        self._serving = ServingStatus.UNKNOWN

    @property
    def state(self) -> HeartbeatState:
        """What the heartbeat is doing."""
        return self._since[0]

    def snapshot(self, judgement: Judgement) -> HeartbeatSnapshot:
        """Return what is known, together with what the judge thinks."""
        last = self._last
        state, since = self._since
        return HeartbeatSnapshot(
            state,
            since,
            None if last is None else last[0],
            self._rtts.stats(),
            self._sequence,
            self._misses,
            self._peer,
            self._serving,
            None if last is None else last[1].load,
            self._streams,
            self._beats,
            self._acked,
            self._missed,
            self._late_echoes,
            self._last_error,
            self._failures,
            judgement.verdict,
            judgement.since,
            judgement.why,
            judgement.write,
            judgement.echo,
            judgement.phi,
            judgement.suspended,
            self.level,
        )

    def apply(self, event: Event, verdict: Verdict) -> None:
        """Fold one event in, after which the verdict is ``verdict``; events that say nothing about the peer are ignored."""
        if self._over == "closed":
            return
        if isinstance(event, BeatAcked):
            self._rtts.add(event.rtt)
            self._last = (event.rtt, event.ack)
            self._serving = event.ack.status
            self._acked += 1
            self._misses = self._failures = 0
            self._over = None
        elif isinstance(event, BeatSent):
            self._sequence = event.sequence
            self._beats += 1
            return
        else:
            self._note(event)
        self.judged(event.at, verdict)

    def judged(self, now: float, verdict: Verdict) -> None:
        """Take note of the verdict at ``now``."""
        over = self._over
        if over is None:
            state = _STATES[verdict]
        elif over == "closed" or verdict is Verdict.REOPEN or (over == "unsupported" and verdict is Verdict.UP):
            state = over
        else:
            state = _STATES[verdict]
        if state != self._since[0]:
            self._since = (state, now)

    def _note(self, event: Event) -> None:
        if isinstance(event, BeatMissed):
            self._misses += 1
            self._missed += 1
        elif isinstance(event, LateEcho):
            self._rtts.add(event.rtt)
            self._last = (event.rtt, event.ack)
            self._serving = event.ack.status
            self._late_echoes += 1
        elif isinstance(event, StreamOpened):
            self._streams += 1
            self._sequence = 0
            if self._over == "unsupported":
                self._over = None
        elif isinstance(event, ServingTold):
            self._serving = event.status
        elif isinstance(event, LevelChanged):
            self.level = event.level
        elif isinstance(event, PeerIdentified):
            self._peer = event.identity
        elif isinstance(event, StreamFailed):
            self._last_error = event.why
            self._failures += 1
            if event.cause in ("unsupported", "refused"):
                self._over = "unsupported"
            elif event.cause != "unclear" and self._over == "unsupported":
                self._over = None
        elif isinstance(event, PeerLeft):
            self._last_error = f"the peer said goodbye: {event.message or event.reason.name.lower()}"
            self._over = "draining" if event.reason is GoodbyeReason.DRAINING else None
        elif isinstance(event, HeartbeatClosed):
            self._last_error = event.why
            self._over = "closed"
