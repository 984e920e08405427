"""Metrics of heartbeats: beats and their round trips, streams, verdicts, suspicion, breakers."""

from __future__ import annotations

from typing import Any

from grpc_heartbeat.core.breaker import BreakerClosed, BreakerOpened, BreakerProbing
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.heartbeat_events import (
    BeatAbandoned,
    BeatAcked,
    BeatMissed,
    BeatSent,
    HeartbeatClosed,
    LateEcho,
    PeerIdentified,
    PeerLeft,
    StreamClosed,
    StreamFailed,
    StreamOpened,
)
from grpc_heartbeat.core.heartbeat_news import HeartbeatEvent
from grpc_heartbeat.core.labels import BoundedLabel
from grpc_heartbeat.core.verdicts import JudgementSuspended, VerdictChanged
from grpc_heartbeat.telemetry.heartbeat_table import NAMES, HeartbeatTable, Key, Line
from grpc_heartbeat.telemetry.instruments import Instruments, Tally, context_of

MOST_SERVICES = 100
MOST_ZONES = 50


class BeatMetrics:
    """Hears of every heartbeat."""

    def __init__(self, instruments: Instruments) -> None:
        self._service = BoundedLabel(MOST_SERVICES)
        self._zone = BoundedLabel(MOST_ZONES)
        self._table = HeartbeatTable(self._key)
        self._check = instruments.histogram(
            "health_check_duration_seconds", "Time from a beat to its answer, or to its miss."
        )
        self._beats = Tally(*NAMES, "outcome")
        self._reconnects = Tally(*NAMES)
        self._failures = Tally(*NAMES, "cause")
        self._verdicts = Tally(*NAMES, "verdict")
        self._suspended = Tally(*NAMES, "cause")
        self._openings = Tally(*NAMES, "kind")
        self._counters(instruments)
        self._gauges(instruments)
        self._hears: dict[type[Event], Any] = {
            BeatSent: self._sent,
            BeatAcked: self._acked,
            BeatMissed: self._missed,
            BeatAbandoned: lambda _, line: self._beats.add(*line.key, "abandoned"),
            LateEcho: lambda _, line: self._beats.add(*line.key, "late_echo"),
            PeerIdentified: self._table.identify,
            StreamOpened: self._opened,
            StreamFailed: self._failed,
            StreamClosed: self._left,
            PeerLeft: self._left,
            VerdictChanged: self._changed,
            JudgementSuspended: self._excused,
            BreakerOpened: self._breaker_opened,
            BreakerProbing: self._breaker_probing,
            BreakerClosed: self._breaker_closed,
            HeartbeatClosed: lambda news, _: self._table.forget(news),
        }

    def _counters(self, instruments: Instruments) -> None:
        for name, unit, description, tally in (
            ("grpc_heartbeat.beats", "{beat}", "Beats by how they ended.", self._beats),
            ("grpc_heartbeat.reconnects", "{stream}", "Streams opened after the first.", self._reconnects),
            ("grpc_heartbeat.stream.failures", "{stream}", "Streams that failed.", self._failures),
            ("grpc_heartbeat.verdict.changes", "{change}", "Verdicts that were reached.", self._verdicts),
            (
                "grpc_heartbeat.judgements_suspended",
                "{judgement}",
                "Convictions that own pauses put off.",
                self._suspended,
            ),
            ("grpc_heartbeat.breaker.openings", "{opening}", "How often breakers opened.", self._openings),
        ):
            instruments.counter(name, unit, description, tally.values)

    def _gauges(self, instruments: Instruments) -> None:
        table = self._table
        for name, unit, description, values in (
            ("grpc_heartbeat.heartbeats", "{heartbeat}", "Heartbeats by their state.", table.states),
            ("grpc_heartbeat.verdicts", "{heartbeat}", "Heartbeats by what is thought of the peer.", table.verdicts),
            ("grpc_heartbeat.levels", "{heartbeat}", "Heartbeats by how the peer is asked.", table.levels),
            ("grpc_heartbeat.sides", "{heartbeat}", "Heartbeats by the state of each direction.", table.sides),
            ("grpc_heartbeat.phi", "1", "How suspicious the silence is now, the highest.", table.suspicions),
            ("grpc_heartbeat.breakers", "{breaker}", "Breakers that let no calls through.", table.breakers),
            ("grpc_heartbeat.live_streams", "{stream}", "Heartbeat streams that are open.", table.live_streams),
            ("grpc_heartbeat.rtt", "s", "The last round trip, averaged over heartbeats.", table.round_trips),
        ):
            instruments.gauge(name, unit, description, values)

    def hear(self, news: Event) -> None:
        """Hear of a heartbeat."""
        if isinstance(news, HeartbeatEvent):
            hears = self._hears.get(type(news.event))
            if hears is not None:
                hears(news, self._table.line(news))

    def forget(self) -> None:
        """Forget the heartbeats, of which nobody tells any more."""
        self._table.clear()

    def _key(self, news: HeartbeatEvent) -> Key:
        event = news.event
        peer = event.identity if isinstance(event, PeerIdentified) else news.snapshot.peer
        if peer is None:
            return self._service(""), news.type, self._zone("")
        return self._service(peer.service), news.type, self._zone(peer.zone)

    def _sent(self, news: HeartbeatEvent, line: Line) -> None:
        line.sent_at = news.event.at
        line.open = True

    def _acked(self, news: Any, line: Line) -> None:
        event: BeatAcked = news.event
        line.rtt = event.rtt
        self._checked(news, line, event.rtt, event.ack.status.name.lower())
        self._beats.add(*line.key, "acked")

    def _missed(self, news: HeartbeatEvent, line: Line) -> None:
        if line.sent_at is not None:  # else it was sent before anybody measured
            self._checked(news, line, news.event.at - line.sent_at, "missed")
        self._beats.add(*line.key, "missed")

    def _checked(self, news: HeartbeatEvent, line: Line, seconds: float, status: str) -> None:
        self._check.record(max(0.0, seconds), {**line.labels, "status": status}, context_of(news.trace))

    def _opened(self, news: HeartbeatEvent, line: Line) -> None:
        line.open = True
        if news.snapshot.streams > 1:
            self._reconnects.add(*line.key)

    def _failed(self, news: Any, line: Line) -> None:
        line.open = False
        self._failures.add(*line.key, news.event.cause)

    def _left(self, _: HeartbeatEvent, line: Line) -> None:
        line.open = False

    def _changed(self, news: Any, line: Line) -> None:
        self._verdicts.add(*line.key, news.event.after.value)

    def _excused(self, news: Any, line: Line) -> None:
        self._suspended.add(*line.key, news.event.cause)

    def _breaker_opened(self, news: Any, line: Line) -> None:
        line.breaker = "open"
        self._openings.add(*line.key, "again" if news.event.again else "first")

    def _breaker_probing(self, _: HeartbeatEvent, line: Line) -> None:
        line.breaker = "half-open"

    def _breaker_closed(self, _: HeartbeatEvent, line: Line) -> None:
        line.breaker = ""
