"""A line per heartbeat of this process, for metrics that have a value at any time.

A line refers to its heartbeat weakly, and what is known of the peer is asked for when somebody reads the metrics: states,
verdicts and suspicion cost nothing until then, and are those of that moment. Lines are summed up by the labels of their peers.
"""

from __future__ import annotations

import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias, get_args

from grpc_heartbeat.core.heartbeat_news import HeartbeatEvent
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot, HeartbeatState
from grpc_heartbeat.core.levels import Level
from grpc_heartbeat.core.verdicts import Side, Verdict
from grpc_heartbeat.telemetry.instruments import Labels

Key: TypeAlias = tuple[str, str, str]
"""The values of the labels of a heartbeat: service, type and zone of its peer."""

NAMES = ("service", "type", "zone")

STATES: tuple[str, ...] = get_args(HeartbeatState)
VERDICTS = tuple(verdict.value for verdict in Verdict)
LEVELS = tuple(level.value for level in Level)
SIDES = tuple((side, state.name.lower()) for side in ("write", "echo") for state in Side)
BREAKERS = ("open", "half-open")

MOST = 10_000
"""Lines that are kept. A program has fewer heartbeats."""

HIGHEST = 1000.0
"""What φ is called from there on. It is infinite once the hard maximum of silence has passed."""


class Line:
    """What is known about one heartbeat now."""

    __slots__ = ("breaker", "key", "look", "open", "rtt", "sent_at")

    def __init__(self, key: Key, look: Callable[[], Any]) -> None:
        self.key = key
        self.look = look
        self.breaker = ""
        self.rtt: float | None = None
        self.open = False
        self.sent_at: float | None = None

    @property
    def labels(self) -> Labels:
        """The labels that each metric of the heartbeat has."""
        return dict(zip(NAMES, self.key, strict=True))


class HeartbeatTable:
    """Keeps the lines; events come from several threads. ``key`` gives the values of the labels of a heartbeat."""

    def __init__(self, key: Callable[[HeartbeatEvent], Key]) -> None:
        self._key = key
        self._lines: dict[int, Line] = {}
        self._lock = threading.Lock()

    def line(self, news: HeartbeatEvent) -> Line:
        """Return the line of the heartbeat that the event is of."""
        line = self._lines.get(news.heartbeat)
        if line is None:
            line = Line(self._key(news), _weakly(news.look))
            with self._lock:
                if len(self._lines) < MOST:
                    self._lines[news.heartbeat] = line
        return line

    def identify(self, news: HeartbeatEvent, line: Line) -> None:
        """Note that the peer has said who it is."""
        line.key = self._key(news)

    def forget(self, news: HeartbeatEvent) -> None:
        """Drop the line of a heartbeat that is closed."""
        with self._lock:
            self._lines.pop(news.heartbeat, None)

    def clear(self) -> None:
        """Drop all lines."""
        with self._lock:
            self._lines.clear()

    def states(self) -> Iterator[tuple[Labels, float]]:
        """Yield how many heartbeats are in each state, zeros included."""
        return self._counted("state", STATES, lambda _, known: [known.state])

    def verdicts(self) -> Iterator[tuple[Labels, float]]:
        """Yield of how many heartbeats' peers each verdict is thought, zeros included."""
        return self._counted("verdict", VERDICTS, lambda _, known: [known.verdict.value])

    def levels(self) -> Iterator[tuple[Labels, float]]:
        """Yield how many heartbeats ask their peers at each level, zeros included."""
        return self._counted("level", LEVELS, lambda _, known: [known.level.value])

    def breakers(self) -> Iterator[tuple[Labels, float]]:
        """Yield how many breakers let no calls through, zeros included."""
        return self._counted("state", BREAKERS, lambda line, _: [line.breaker] if line.breaker else [])

    def sides(self) -> Iterator[tuple[Labels, float]]:
        """Yield how many heartbeats have each side in each state, zeros included."""
        for labels, lines in self._grouped():
            counts = dict.fromkeys(SIDES, 0)
            for _, known in lines:
                counts["write", known.write.name.lower()] += 1
                counts["echo", known.echo.name.lower()] += 1
            for (side, state), count in counts.items():
                yield {**labels, "side": side, "state": state}, count

    def suspicions(self) -> Iterator[tuple[Labels, float]]:
        """Yield the highest φ."""
        for labels, lines in self._grouped():
            yield labels, min(HIGHEST, max(known.phi for _, known in lines))

    def live_streams(self) -> Iterator[tuple[Labels, float]]:
        """Yield how many streams are open."""
        for labels, lines in self._grouped():
            yield labels, sum(line.open for line, _ in lines)

    def round_trips(self) -> Iterator[tuple[Labels, float]]:
        """Yield the last round trips in seconds, averaged."""
        for labels, lines in self._grouped():
            rtts = [line.rtt for line, _ in lines if line.rtt is not None]
            if rtts:
                yield labels, sum(rtts) / len(rtts)

    def _counted(
        self, name: str, values: Iterable[str], of: Callable[[Line, HeartbeatSnapshot], list[str]]
    ) -> Iterator[tuple[Labels, float]]:
        for labels, lines in self._grouped():
            counts = dict.fromkeys(values, 0)
            for line, known in lines:
                for value in of(line, known):
                    counts[value] += 1
            for value, count in counts.items():
                yield {**labels, name: value}, count

    def _grouped(self) -> Iterator[tuple[Labels, list[tuple[Line, HeartbeatSnapshot]]]]:
        groups: defaultdict[Key, list[tuple[Line, HeartbeatSnapshot]]] = defaultdict(list)
        with self._lock:
            lines = list(self._lines.items())
        for heartbeat, line in lines:
            known = line.look()
            if known is None:
                with self._lock:
                    self._lines.pop(heartbeat, None)
            else:
                groups[line.key].append((line, known))
        for key, found in groups.items():
            yield dict(zip(NAMES, key, strict=True)), found


def _weakly(look: Callable[[], HeartbeatSnapshot]) -> Callable[[], HeartbeatSnapshot | None]:
    """Return what does as ``look`` while its heartbeat lives, and returns ``None`` when that is gone."""
    try:
        known = weakref.WeakMethod(look)
    except TypeError:  # no method: it belongs to nobody
        return look

    def ask() -> HeartbeatSnapshot | None:
        living = known()
        return None if living is None else living()

    return ask
