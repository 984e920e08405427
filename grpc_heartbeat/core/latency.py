"""The latencies of the last few minutes, as a sketch that slides; no I/O, ``now`` is an argument.

Theory of operation. The window is cut into :data:`PARTS` parts of equal length, each with a sketch of its own. The newest part
takes what comes; a part that is older than the window is thrown away as a whole, so that up to one part too much may count.
A quantile merges what is left, and is asked for seldom.
"""

from __future__ import annotations

from collections import deque

from grpc_heartbeat.core.sketch import Sketch

PARTS = 10


class LatencyWindow:
    """Latencies of the last ``seconds``. One thread at a time."""

    __slots__ = ("_length", "_parts")

    def __init__(self, seconds: float) -> None:
        self._length = seconds / PARTS
        self._parts: deque[tuple[float, Sketch, list[int]]] = deque(maxlen=PARTS + 1)

    def add(self, latency: float, now: float) -> None:
        """Count a latency, in seconds, that was met at ``now``."""
        if not self._parts or now >= self._parts[-1][0] + self._length:
            self._parts.append((now, Sketch(), [0]))
        _, sketch, count = self._parts[-1]
        sketch.add(latency)
        count[0] += 1

    def count(self, now: float) -> int:
        """Return how many there are."""
        self._forget(now)
        return sum(count[0] for _, _, count in self._parts)

    def quantile(self, share: float, now: float) -> float:
        """Return the latency that ``share`` of them do not exceed, at most 1/16 too high; 0 if there are none."""
        self._forget(now)
        return Sketch.merged(sketch for _, sketch, _ in self._parts).quantile(share)

    def _forget(self, now: float) -> None:
        oldest = now - self._length * PARTS
        while self._parts and self._parts[0][0] + self._length <= oldest:
            self._parts.popleft()
