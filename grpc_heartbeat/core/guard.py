"""The judge of one call in flight: has it been connected, accepted, read from and written to in time?

Theory of operation. A call passes through stages; each has its own limit and begins when the one before ended:

    CONNECTING ──connected──▶ WAITING ──accepted──▶ OPEN

From then on single messages are limited too. Only waiting for the peer counts: the idle limit runs while the application
waits for a message (``reading_since`` is set) and the write limit while a message waits to be taken (``writing_since``). Each
is one store; nothing is armed or cancelled per message. Neither runs while there is no connection.

The driver arms one timer per call, for ``begin``'s answer, and calls ``check`` when it fires. ``check`` looks at what is true
*now*, so a timer that fires late never ends a call whose event has come, and says when to look next: at the instant at which a
wait that is on now would be late, or, while nobody waits, one limit from now. No wait that begins in between can be late
before that, so every wait is judged exactly at its limit.

The total is not judged here; it is gRPC's own deadline.

A call that fails is given initial metadata, empty ones, a moment before its status. Where there was never a connection they
are therefore not believed before the status has had time to come (``claimed``).

Thread safety: the fields are stored by the thread that reads or writes messages and read by the one that checks; each is a
single store. A wait that ends while it is being judged late is late by then, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from grpc_heartbeat.core.facts import Layer
from grpc_heartbeat.core.limits import Limits, Part

DOUBT = 0.1
"""Seconds that the status of a failed call has to come after its initial metadata."""


class Stage(Enum):
    """How far a call has come."""

    CONNECTING = "connecting"
    WAITING = "waiting"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Ending:
    """A layer that was late: the call is to be ended."""

    layer: Layer
    limit: float
    elapsed: float
    source: str


class Guard:
    """Judges one call.

    Args:
        limits: Those of the call's method, with what was given for this call.
        started: The call's start, on the driver's clock.
        ready: Whether its channel has a connection.
    """

    __slots__ = ("claimed_at", "limits", "reading_since", "stage", "stage_since", "writing_since")

    def __init__(self, limits: Limits, started: float, ready: bool) -> None:
        self.limits = limits
        self.stage = Stage.WAITING if ready else Stage.CONNECTING
        self.stage_since = started
        self.reading_since: float | None = None
        self.writing_since: float | None = None
        self.claimed_at: float | None = None

    def begin(self) -> float | None:
        """Return the instant of the first check, or ``None`` when nothing is limited yet."""
        return self._next_look(self.stage_since)

    def connected(self, now: float) -> float | None:
        """Say that the channel has a connection now; returns the instant of the next check."""
        if self.stage is Stage.CONNECTING:
            self.stage = Stage.WAITING
            self.stage_since = now
        return self._next_look(now)

    def accepted(self) -> None:
        """Say that the server has accepted the call. Any response implies it."""
        self.stage = Stage.OPEN

    def claimed(self, now: float) -> float | None:
        """Say that there are initial metadata but no connection; returns when to look next, or ``None``: they are believed."""
        if self.claimed_at is None:
            self.claimed_at = now
        if now < self.claimed_at + DOUBT:
            return self.claimed_at + DOUBT
        self.accepted()
        return None

    def check(self, now: float) -> Ending | float | None:
        """Return the layer that is late, or when to look next, or ``None`` when there is nothing left to look for.

        Call ``connected`` or ``accepted`` first where the driver can see that by looking.
        """
        late = None
        if self.stage is Stage.CONNECTING:
            late = _late("connect", self.limits, self.stage_since, now)
        else:
            if self.stage is Stage.WAITING:
                late = _late("header", self.limits, self.stage_since, now)
            late = late or _late("idle", self.limits, self._since(self.reading_since, now), now)
            late = late or _late("write", self.limits, self._since(self.writing_since, now), now)
        return late or self._next_look(now)

    def _next_look(self, now: float) -> float | None:
        limits = self.limits
        looks: list[float] = []
        if self.stage is Stage.CONNECTING:
            if limits.connect is not None:
                looks.append(self.stage_since + limits.connect)
        elif self.stage is Stage.WAITING and limits.header is not None:
            looks.append(self.stage_since + limits.header)
        if self.stage is not Stage.CONNECTING:
            if limits.idle is not None:
                looks.append(self._since(self.reading_since, now) + limits.idle)
            if limits.write is not None:
                looks.append(self._since(self.writing_since, now) + limits.write)
        return min(looks, default=None)

    def _since(self, waiting_since: float | None, otherwise: float) -> float:
        """Return since when a wait counts: not before there was a connection; ``otherwise`` when nobody waits."""
        return otherwise if waiting_since is None else max(waiting_since, self.stage_since)


def _late(part: Part, limits: Limits, since: float, now: float) -> Ending | None:
    limit: float | None = getattr(limits, part)
    if limit is None or now < since + limit:
        return None
    return Ending(part, limit, now - since, limits.source(part))
