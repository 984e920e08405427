"""The server's side of one heartbeat stream, without I/O.

The server answers: hello with hello, each beat with an ack that carries its serving status, its load and the interval it would
like. Once it drains, its next answer is followed by a goodbye and the stream ends. Its own first frame is always a hello,
whatever the client sent first. Frames that make no sense here (acks, unknown kinds, a second hello) are counted.

A client promises with each beat when the next comes. A client that stays silent for :data:`PATIENCE` such spans is held to be
gone, so that half-open connections do not hold streams for ever: ``wake`` says so at ``next_wakeup``.

What the driver does: sends the frames that ``receive`` returns, in order, and ends the stream once ``over`` is true. If the
goodbye was its own (``parted``), it first waits for the client to end its side, :data:`PARTING` seconds at most: a stream that
the server ends before the client did is reset, and what the client has not read by then is lost, the goodbye too.
"""

from __future__ import annotations

from dataclasses import dataclass

from grpc_heartbeat.config import Identity
from grpc_heartbeat.core.frames import Ack, Beat, Frame, Goodbye, GoodbyeReason, Hello, Load, ServingStatus

PATIENCE = 3
"""Promised spans of silence after which a client is held to be gone."""

PARTING = 0.5
"""Seconds that a client has to end its side after the server's goodbye."""

SHORTEST_PATIENCE = 10.0
"""Seconds of silence that any client is allowed, whatever it promised."""


@dataclass(frozen=True, slots=True)
class Condition:
    """How the server is when it answers.

    ``draining`` is the reason to leave, or ``None``; ``advised_interval`` the seconds that it asks of its clients at least.
    """

    status: ServingStatus = ServingStatus.SERVING
    load: Load | None = None
    draining: str | None = None
    advised_interval: float = 0.0


class ServerSession:
    """One stream of one client.

    Args:
        advised_interval: Seconds between beats that the server would like; 0 advises nothing.
    """

    def __init__(self, identity: Identity, *, advised_interval: float = 0.0) -> None:
        self._identity = identity
        self._advised_interval = advised_interval
        self._greeted = False
        self._silent_at: float | None = None
        self.peer: Identity | None = None
        self.over = False
        self.parted = False
        """Whether it is over because the server said goodbye."""
        self.beats = 0
        self.unexpected_frames = 0

    def receive(self, frame: Frame | None, now: float, condition: Condition) -> list[Frame]:
        """Take in a frame of the client, ``None`` for one of unknown kind; return the frames to answer with."""
        if self.over:
            return []
        answer = self._greet()
        if isinstance(frame, Beat):
            answer.append(self._answer(frame, now, condition))
        elif isinstance(frame, Hello) and self.peer is None:
            self.peer = frame.identity
        elif isinstance(frame, Goodbye):
            self.over = True
            return []
        else:
            self.unexpected_frames += 1
        if condition.draining is not None:
            answer.append(self._leave(condition.draining))
        return answer

    def drain(self, reason: str) -> list[Frame]:
        """Return the frames that end an idle stream now."""
        return [] if self.over else [*self._greet(), self._leave(reason)]

    def next_wakeup(self) -> float | None:
        """Return the instant at which the client's silence is too long; ``None`` while it promised nothing."""
        return None if self.over else self._silent_at

    def wake(self, now: float) -> bool:
        """Tell whether the client is held to be gone at ``now``; the session is over then."""
        if self._silent_at is not None and now >= self._silent_at:
            self.over = True
        return self.over

    def _greet(self) -> list[Frame]:
        if self._greeted:
            return []
        self._greeted = True
        return [Hello(self._identity)]

    def _answer(self, beat: Beat, now: float, condition: Condition) -> Ack:
        self.beats += 1
        if beat.next_within > 0:
            self._silent_at = now + max(SHORTEST_PATIENCE, PATIENCE * beat.next_within)
        else:
            self._silent_at = None
        advised = max(self._advised_interval, condition.advised_interval)
        return Ack(beat.sequence, condition.status, condition.load, advised)

    def _leave(self, reason: str) -> Goodbye:
        self.over = self.parted = True
        return Goodbye(GoodbyeReason.DRAINING, reason)
