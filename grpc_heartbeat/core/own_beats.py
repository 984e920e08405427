"""The beats of a server on a stream that its client opened: most servers send none and judge their clients by theirs.

They are due at ``origin + n · interval`` from the client's first frame on, one is in flight at a time, and each is echoed in
time or missed. ``policy.misses`` in a row convict the client. A driver that wakes up late skips the slots that have passed.
"""

from __future__ import annotations

import math

from grpc_heartbeat.config import HeartbeatPolicy
from grpc_heartbeat.core.frames import Beat


class OwnBeats:
    """The beats on one stream, the first at ``now``."""

    __slots__ = ("_next", "_origin", "_policy", "_sent_at", "misses", "sequence")

    def __init__(self, policy: HeartbeatPolicy, now: float) -> None:
        self._policy = policy
        self._origin = self._next = now
        self._sent_at: float | None = None
        self.sequence = 0
        """Of the newest beat."""
        self.misses = 0
        """Misses in a row."""

    @property
    def convicted(self) -> bool:
        """Whether the client has missed as many as it may."""
        return self.misses >= self._policy.misses

    def next_wakeup(self) -> float:
        """Return the instant at which to ask :meth:`overdue`, and then :meth:`send`."""
        return self._next if self._sent_at is None else self._sent_at + self._policy.beat_timeout

    def overdue(self, now: float) -> bool:
        """Tell whether the beat in flight is missed at ``now``, and count it."""
        if self._sent_at is None or now < self._sent_at + self._policy.beat_timeout:
            return False
        self._sent_at = None
        self.misses += 1
        return True

    def send(self, now: float) -> Beat | None:
        """Return the beat to send at ``now``, or ``None`` if none is due."""
        if self._sent_at is not None or now < self._next:
            return None
        interval = self._policy.interval
        self._next = self._origin + (math.floor((now - self._origin) / interval) + 1) * interval
        self._sent_at = now
        self.sequence += 1
        return Beat(self.sequence, self._policy.type, next_within=interval + self._policy.beat_timeout)

    def echoed(self, sequence: int, now: float) -> float | None:
        """Take in an ack; return the round trip of the beat in flight if that was it, else ``None``."""
        sent_at = self._sent_at
        if sent_at is None or sequence != self.sequence:
            return None
        self._sent_at = None
        self.misses = 0
        return now - sent_at
