"""The server's side of one heartbeat stream, without I/O.

Theory of operation
-------------------
The server answers: hello with hello, each beat with an ack that carries its serving status, its load and the interval it would
like. Once it drains, its next answer is followed by a goodbye and the stream ends. Its own first frame is always a hello,
whatever the client sent first. Frames that make no sense here (unknown kinds, a second hello, acks of nothing) are counted.

*Silence.* A client promises with each beat when the next comes. One that stays silent for :data:`PATIENCE` such spans is held
to be gone, so that half-open connections do not hold streams for ever. A beat only stores when it came; what is overdue is
found by looking at all streams now and then (``wake`` at ``next_wakeup``). The same look finds answers that nobody takes
(``unread_since``), beats of the server's own that were not echoed (``own_beats.py``), and streams whose time to part is over.

*Two ways to send.* A driver that can send an answer and wait for the next frame in one operation does so while ``joined`` is
true; it is cheaper, but nothing else can be sent until that frame is here. So it is for clients that beat so fast that a
goodbye can wait for the next answer, or that also read it in the stream's trailing metadata, and not where the server beats.
Only the next beat shows that the answer was taken, so it is not for clients that may be silent for longer than an answer may
wait.

*Ends.* ``over`` means that nothing more is said. If the goodbye was the server's (``parted``), the driver waits for the client
to end its side, :data:`PARTING` seconds at most: a stream that the server ends before the client did is reset, and what the
client has not read by then is lost, the goodbye too. ``refusal`` says what to end it with if the client broke a limit.

What the driver does: it sends the frames that ``receive`` returns, in order; it calls ``wake`` at ``next_wakeup`` and does what
that says; it ends the stream once ``over`` is true; after each of these it delivers ``take_events()``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import Ack, Beat, Frame, Goodbye, GoodbyeReason, Hello, Load, ServingStatus
from grpc_heartbeat.core.held_events import ClientEchoed, ClientJoined, ClientLeft, ClientLost, ClientMissed, LossCause
from grpc_heartbeat.core.own_beats import OwnBeats
from grpc_heartbeat.core.stream_limits import Pace, StreamLimits

PATIENCE = 3
"""Promised spans of silence after which a client is held to be gone."""

PARTING = 0.5
"""Seconds that a client has to end its side after the server's goodbye."""

SHORTEST_PATIENCE = 10.0
"""Seconds of silence that any client is allowed, whatever it promised."""

LOOK = 20.0
"""Longest time between looks at a stream of which nothing is due, in seconds."""

QUICK = 1.0
"""Seconds between beats up to which a goodbye can wait for the next answer."""

LIMITS = StreamLimits()


@dataclass(frozen=True, slots=True)
class Condition:
    """How the server is when it answers.

    ``draining`` is the reason to leave, or ``None``; ``advised_interval`` the seconds between beats that it wants, 0 for any.
    """

    status: ServingStatus = ServingStatus.SERVING
    load: Load | None = None
    draining: str | None = None
    advised_interval: float = 0.0


class Due(Enum):
    """What :meth:`ServerSession.wake` found: end the stream with OK, or cut it off because nobody is at the other end."""

    END = "end"
    CUT = "cut"


class ServerSession:
    """One stream of one client, opened at ``now``.

    Args:
        limits: What the client may do.
        beats: The server beats on this stream, too. Default: it does not.
        hears_trailers: The client reads goodbyes in the trailing metadata as well.
    """

    __slots__ = (
        "_credit",
        "_greeted",
        "_identity",
        "_limits",
        "_own",
        "_pace",
        "_part_at",
        "beats",
        "events",
        "hears_trailers",
        "joined",
        "over",
        "parted",
        "peer",
        "promise",
        "refusal",
        "seen",
        "unexpected_frames",
        "unread_since",
    )

    def __init__(
        self,
        identity: Identity,
        *,
        limits: StreamLimits = LIMITS,
        beats: HeartbeatPolicy | None = None,
        hears_trailers: bool = False,
        now: float = 0.0,
    ) -> None:
        self._identity = identity
        self._limits = limits
        self._credit = limits.beats_per_second
        self._pace: Pace | None = None
        self._own = None if beats is None else OwnBeats(beats, now)
        self._greeted = False
        self.events: list[Event] | None = None
        """What happened since :meth:`take_events`; ``None`` is nothing."""
        self._part_at: float | None = None
        self.hears_trailers = hears_trailers
        self.joined = False
        """Whether an answer and the wait for the next frame may be one operation now."""
        self.peer: Identity | None = None
        self.over = False
        self.parted = False
        """Whether it is over because the server said goodbye."""
        self.refusal: str | None = None
        self.beats = 0
        self.unexpected_frames = 0
        self.seen = -math.inf
        """When the last beat came."""
        self.promise = 0.0
        """Seconds within which the next one comes, as the client said; 0 for no promise."""
        self.unread_since: float | None = None
        """Since when the answer waits that is being sent; the driver's to set and to clear."""

    def receive(self, frame: Frame | None, now: float, condition: Condition) -> list[Frame]:
        """Take in a frame of the client, ``None`` for one of unknown kind; return the frames to answer with."""
        if self.over:
            return []
        if type(frame) is Beat and self._greeted and condition.draining is None:  # what nearly all frames are
            ack = self._answer(frame, now, condition)
            return [] if ack is None else [ack]
        return self._receive(frame, now, condition)

    def _receive(self, frame: Frame | None, now: float, condition: Condition) -> list[Frame]:
        answer = self._greet()
        if isinstance(frame, Beat):
            ack = self._answer(frame, now, condition)
            if ack is None:
                return []
            answer.append(ack)
        elif isinstance(frame, Hello) and self.peer is None:
            self.peer = frame.identity
            self._tell(ClientJoined(now, frame.identity))
        elif isinstance(frame, Goodbye):
            self._end(now, "the client said goodbye")
            return []
        elif not (isinstance(frame, Ack) and self._echo(frame, now)):
            self.unexpected_frames += 1
        if condition.draining is not None:
            answer.append(self._leave(condition.draining, now))
        return answer

    def drain(self, reason: str, now: float) -> list[Frame]:
        """Return the frames that end an idle stream now."""
        return [] if self.over else [*self._greet(), self._leave(reason, now)]

    def drain_joined(self, reason: str, now: float) -> Goodbye | None:
        """Leave a stream on which nothing can be sent before the client's next frame.

        Returns:
            What to end it with at once, in the trailing metadata; ``None`` if the goodbye follows the next answer. The stream
            ends without one when that does not come soon.
        """
        if self.over:
            return None
        if self.hears_trailers:
            return self._leave(reason, now)
        self._part_at = now + QUICK + PARTING
        return None

    def refuse(self, why: str, now: float) -> None:
        """End the stream because its client broke a limit."""
        if not self.over:
            self.refusal = why
            self._lose(now, "refused", why)

    def closed(self, now: float) -> None:
        """Note that the client has ended its side, or that the RPC is over."""
        self._end(now, "the stream ended")

    def next_wakeup(self) -> float | None:
        """Return the instant at which to call :meth:`wake`; ``None`` while nothing will be due by itself."""
        if self.over:
            return self._part_at
        due = math.inf if self._part_at is None else self._part_at
        if self.promise > 0:
            due = min(due, self.seen + self._patience)
        if self.unread_since is not None:
            due = min(due, self.unread_since + self._limits.unread)
        if self._own is not None and self._greeted:
            due = min(due, self._own.next_wakeup())
        return None if due == math.inf else due

    def wake(self, now: float, excused: float = 0.0) -> Due | None:
        """Judge what is overdue at ``now``; ask :meth:`own_beat` next.

        Args:
            excused: Seconds since the last beat in which the server itself did not run: they do not count as silence.
        """
        if self._part_at is not None and now >= self._part_at:
            self._part_at = None
            self._end(now, "the server left")
            return Due.END
        if self.over:
            return None
        if self.promise > 0 and now - excused >= self.seen + self._patience:
            self._lose(
                now,
                "silent",
                f"no heartbeat for {now - self.seen:.3g} s; the next was promised within {self.promise:g} s",
            )
            return Due.CUT
        if self.unread_since is not None and now - self.unread_since >= self._limits.unread:
            self._lose(now, "unread", f"an answer has not been taken for {now - self.unread_since:.3g} s")
            return Due.CUT
        return self._judge_echo(now) if self._own is not None else None

    def own_beat(self, now: float) -> Beat | None:
        """Return the beat that the server has to send at ``now``, or ``None``. It must be sent."""
        if self._own is None or self.over or not self._greeted:
            return None
        return self._own.send(now)

    def take_events(self) -> list[Event]:
        """Return what happened since the last call, oldest first."""
        events, self.events = self.events, None
        return events or []

    @property
    def _patience(self) -> float:
        return max(SHORTEST_PATIENCE, PATIENCE * self.promise)

    def _greet(self) -> list[Frame]:
        if self._greeted:
            return []
        self._greeted = True
        return [Hello(self._identity)]

    def _answer(self, beat: Beat, now: float, condition: Condition) -> Ack | None:
        advised = condition.advised_interval
        if self._credit:
            self._credit -= 1
        elif self._too_fast(now):
            return None
        if self._pace is not None:
            advised = max(advised, self._pace.advice(now))
        self.beats += 1
        self.joined = (
            (self.hears_trailers or now - self.seen <= QUICK)
            and 0 < PATIENCE * beat.next_within <= self._limits.unread >= SHORTEST_PATIENCE
            and self._own is None
        )
        self.seen = now
        self.promise = beat.next_within
        return Ack(beat.sequence, condition.status, condition.load, advised)

    def _too_fast(self, now: float) -> bool:
        self._credit = self._limits.beats_per_second - 1
        pace = self._pace = self._pace or Pace(self._limits)
        if pace.spent(now):
            self.refuse(pace.excess(), now)
        return self.over

    def _echo(self, ack: Ack, now: float) -> bool:
        rtt = None if self._own is None else self._own.echoed(ack.sequence, now)
        if rtt is None:
            return False
        self.seen = now
        self._tell(ClientEchoed(now, self.peer, ack.sequence, rtt))
        return True

    def _judge_echo(self, now: float) -> Due | None:
        own = self._own
        if own is None or not own.overdue(now):
            return None
        self._tell(ClientMissed(now, self.peer, own.sequence, own.misses))
        if not own.convicted:
            return None
        self._lose(now, "silent", f"{own.misses} beats of the server's in a row were not echoed")
        return Due.CUT

    def _leave(self, reason: str, now: float) -> Goodbye:
        self._end(now, "the server said goodbye")
        self.parted = True
        self._part_at = now + PARTING
        return Goodbye(GoodbyeReason.DRAINING, reason)

    def _lose(self, now: float, cause: LossCause, why: str) -> None:
        self.over = True
        self._tell(ClientLost(now, self.peer, cause, why))

    def _end(self, now: float, why: str) -> None:
        if not self.over:
            self.over = True
            self._tell(ClientLeft(now, self.peer, why))

    def _tell(self, event: Event) -> None:
        if self.events is None:
            self.events = []
        self.events.append(event)
