"""A line per heartbeat of this process, for metrics that have a value at any time."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TypeAlias, get_args

from grpc_heartbeat.core.heartbeat_events import PeerLeft, StreamClosed, StreamFailed, StreamOpened
from grpc_heartbeat.core.heartbeat_news import HeartbeatEvent
from grpc_heartbeat.core.heartbeat_status import HeartbeatState

Labels: TypeAlias = "dict[str, str]"

STATES: tuple[str, ...] = get_args(HeartbeatState)

MOST = 10_000
"""Lines that are kept. A program has fewer heartbeats."""


class Line:
    """What is known about one heartbeat now."""

    __slots__ = ("labels", "open", "peer", "rtt", "sent_at", "state")

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.peer: object = None
        self.state: str = "connecting"
        self.rtt: float | None = None
        self.open = False
        self.sent_at = 0.0


class HeartbeatTable:
    """Keeps the lines; events come from several threads. ``labels`` gives those of a heartbeat whose peer has changed."""

    def __init__(self, labels: Callable[[HeartbeatEvent], Labels]) -> None:
        self._labels = labels
        self._lines: dict[int, Line] = {}
        self._lock = threading.Lock()

    def line(self, news: HeartbeatEvent) -> Line:
        """Return the line of the heartbeat that the event is of, brought up to date."""
        line = self._lines.get(news.heartbeat)
        if line is None:
            line = Line(self._labels(news))
            with self._lock:
                if len(self._lines) < MOST:
                    self._lines[news.heartbeat] = line
        snapshot, event = news.snapshot, news.event
        if snapshot.peer is not line.peer:
            line.peer = snapshot.peer
            line.labels = self._labels(news)
        line.state = snapshot.state
        line.rtt = snapshot.last_rtt
        if isinstance(event, StreamOpened):
            line.open = True
        elif isinstance(event, (StreamFailed, StreamClosed, PeerLeft)):
            line.open = False
        return line

    def forget(self, news: HeartbeatEvent) -> None:
        """Drop the line of a heartbeat that is closed."""
        with self._lock:
            self._lines.pop(news.heartbeat, None)

    def states(self) -> Iterator[tuple[Labels, float]]:
        """Yield how many heartbeats are in each state, zeros included, by service, type and zone."""
        by_labels: defaultdict[tuple[tuple[str, str], ...], dict[str, int]] = defaultdict(
            lambda: dict.fromkeys(STATES, 0)
        )
        for line in self._all():
            by_labels[tuple(line.labels.items())][line.state] += 1
        for labels, counts in by_labels.items():
            for state, count in counts.items():
                yield {**dict(labels), "state": state}, count

    def live_streams(self) -> Iterator[tuple[Labels, float]]:
        """Yield how many streams are open, by service, type and zone."""
        for labels, lines in self._grouped():
            yield labels, sum(line.open for line in lines)

    def round_trips(self) -> Iterator[tuple[Labels, float]]:
        """Yield the last round trips in seconds, averaged by service, type and zone."""
        for labels, lines in self._grouped():
            rtts = [line.rtt for line in lines if line.rtt is not None]
            if rtts:
                yield labels, sum(rtts) / len(rtts)

    def _grouped(self) -> Iterator[tuple[Labels, list[Line]]]:
        groups: defaultdict[tuple[tuple[str, str], ...], list[Line]] = defaultdict(list)
        for line in self._all():
            groups[tuple(line.labels.items())].append(line)
        for labels, lines in groups.items():
            yield dict(labels), lines

    def _all(self) -> list[Line]:
        with self._lock:
            return list(self._lines.values())
