"""What is known about a peer from its heartbeats, folded from their events.

Rules. ``up`` means that the last beat was echoed. ``late`` means that at least one was missed and the stream still stands.
``down`` means that the peer stayed silent, or that a stream could not be opened. An open stream that ends (a GOAWAY, a maximum
age, a restart) is ``connecting`` until the next attempt tells: no alarm for what happens every day. ``draining`` holds until a
beat is echoed again. ``unsupported`` and refusals say nothing about the peer's health.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from grpc_heartbeat.config import Identity
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import GoodbyeReason, Load, ServingStatus
from grpc_heartbeat.core.heartbeat_events import (
    BeatAcked,
    BeatMissed,
    BeatSent,
    HeartbeatClosed,
    LateEcho,
    PeerIdentified,
    PeerLeft,
    StreamFailed,
    StreamOpened,
)
from grpc_heartbeat.core.rtt import RttStats, RttWindow

HeartbeatState: TypeAlias = Literal["connecting", "up", "late", "down", "draining", "unsupported", "closed"]


@dataclass(frozen=True, slots=True)
class HeartbeatSnapshot:
    """A heartbeat at one instant. Instants are monotonic seconds, durations seconds.

    ``since``: when ``state`` was entered. ``sequence``: of the last beat on the present stream. ``consecutive_misses``: beats
    missed since the last echo. ``peer``, ``serving``, ``load``: as the peer last said. ``streams``: streams that opened.
    ``last_error``: why the last stream ended, or ``""``. ``failures``: streams that failed since the last echo.
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


class HeartbeatStatus:
    """Keeps the snapshot; reading :attr:`snapshot` needs no lock."""

    def __init__(self, now: float) -> None:
        self.snapshot = HeartbeatSnapshot("connecting", now)
        self._rtts = RttWindow()

    def apply(self, event: Event) -> None:
        """Fold one event in; events that say nothing about the peer are ignored."""
        known = self.snapshot
        if isinstance(event, BeatAcked):
            self._acked(event)
        elif isinstance(event, BeatSent):
            self.snapshot = replace(known, sequence=event.sequence, beats=known.beats + 1)
        elif isinstance(event, BeatMissed):
            misses = known.consecutive_misses + 1
            state: HeartbeatState = known.state if known.state in ("down", "draining") else "late"
            self._enter(event, state, consecutive_misses=misses, missed=known.missed + 1)
        elif isinstance(event, StreamFailed):
            self._enter(event, self._after(event), last_error=event.why, failures=known.failures + 1)
        elif isinstance(event, PeerLeft):
            left: HeartbeatState = "draining" if event.reason is GoodbyeReason.DRAINING else "connecting"
            self._enter(event, left, last_error=f"the peer said goodbye: {event.message or event.reason.name.lower()}")
        elif isinstance(event, HeartbeatClosed):
            self._enter(event, "closed", last_error=event.why)
        else:
            self._note(event)

    def _note(self, event: Event) -> None:
        known = self.snapshot
        if isinstance(event, StreamOpened):
            self.snapshot = replace(known, streams=known.streams + 1, sequence=0)
        elif isinstance(event, PeerIdentified):
            self.snapshot = replace(known, peer=event.identity)
        elif isinstance(event, LateEcho):
            self._rtts.add(event.rtt)
            self.snapshot = replace(known, late_echoes=known.late_echoes + 1, rtt=self._rtts.stats())

    def _acked(self, event: BeatAcked) -> None:
        self._rtts.add(event.rtt)
        self._enter(
            event,
            "up",
            last_rtt=event.rtt,
            rtt=self._rtts.stats(),
            consecutive_misses=0,
            failures=0,
            serving=event.ack.status,
            load=event.ack.load,
            acked=self.snapshot.acked + 1,
        )

    def _after(self, event: StreamFailed) -> HeartbeatState:
        if event.cause in ("unsupported", "refused"):
            return "unsupported"
        state = self.snapshot.state
        if event.cause == "unclear" or (event.cause == "lost" and event.opened):
            if state in ("up", "connecting"):
                return "connecting"
            if event.cause == "unclear":
                return state
        return "down"

    def _enter(self, event: Event, state: HeartbeatState, **changes: object) -> None:
        known = self.snapshot
        since = known.since if state == known.state else event.at
        self.snapshot = replace(known, state=state, since=since, **changes)  # type: ignore[arg-type]  # of its own fields
