"""The client's side of one heartbeat stream, without I/O.

Theory of operation
-------------------
The client says hello; the stream is *open* once the peer's first frame is here. The first beat is due at once. From then on
beats are due at the slots ``origin + n · interval``. The origin never moves, so lateness of one beat does not delay the next,
and a driver that wakes up late sends one beat and skips the slots that passed: no drift and no burst. Where many streams beat,
each has a ``phase`` of its own: then the origin is that share of an interval after the zero of the clock, so that the streams
are spread over the interval, whenever they were opened, and a stream that is opened anew keeps its place. Between two slots one
beat may be sent besides, where an echo says that work waits for a worker: at the instant at which it has waited for as long as
convicts, so that this is known then and not up to an interval later. One beat is in flight
at a time and ends exactly once: *acked*, *missed* after ``policy.beat_timeout``, or *abandoned* with the stream.
``policy.misses`` consecutive misses fail the stream, and so does a peer that does not open it within ``misses`` intervals.

The echo of an earlier, missed beat is a sample of the round trip and not liveness; any other echo that was not asked for is
counted and ignored, as are frames of unknown kind. Nothing a peer sends raises.

What the driver does: it creates a session per stream and sends ``hello()``; it hands in what happens (``receive``,
``written``, ``stream_closed``), each with its clock's ``now``, and sends what ``receive`` returns; it calls ``wake`` at
``next_wakeup``, and then, if ``beat_due`` names a sequence, ``send_beat``; after every call it delivers ``take_events``. Once
``over`` is true it ends the stream. A driver with several threads calls under a lock of its own.
"""

from __future__ import annotations

import hashlib
import math

from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.beat_states import BeatInput, BeatState, advance
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import Ack, Beat, Frame, Goodbye, GoodbyeReason, Hello
from grpc_heartbeat.core.heartbeat_events import (
    BeatAbandoned,
    BeatAcked,
    BeatMissed,
    BeatSent,
    FailureCause,
    LateEcho,
    PeerIdentified,
    PeerLeft,
    ServingTold,
    StreamClosed,
    StreamFailed,
    StreamOpened,
)

LONGEST_ADVISED_INTERVAL = 60.0
"""Seconds. A server may slow its clients down to this, or to their own interval if that is longer, and no further."""

_REMEMBERED_MISSES = 16

_ROUNDING = 1e-6
"""Share of an interval by which an instant that was computed may be too early."""

_SPACED = 2.0
"""Round trips between beats to a peer that echoes too late, in whole intervals: at most as many as convict it."""

_WAITING = 0.5
"""Share of the silence that convicts, for which work must have waited for a worker to be asked about between two slots."""

_FRESH = 0.03
"""Seconds by which what an echo says of its sender's load may be old."""

_KNOWN_PEERS = 1024

_known: dict[Identity, Identity] = {}
"""One identity for all streams to a peer. It is emptied when it is full: then new streams have an identity of their own."""


def phase_of(*names: str) -> float:
    """Return the phase, in [0, 1), of the stream that has these names: a hash of them, the same in every process."""
    digest = hashlib.blake2b("\0".join(names).encode("utf-8", "replace"), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32


class ClientSession:
    """One stream, from its opening at ``now`` to its end.

    Args:
        phase: Where its slots are in each interval of the clock, as a share of it in [0, 1). ``None``: the slots are counted
            from the opening.
    """

    __slots__ = (
        "_consecutive",
        "_due",
        "_events",
        "_heard",
        "_identity",
        "_interval",
        "_missed",
        "_open_limit",
        "_opened",
        "_origin",
        "_over",
        "_phase",
        "_policy",
        "_sent_at",
        "_sequence",
        "_slot",
        "_state",
        "_unslotted",
        "parted",
        "peer",
        "stray_echoes",
        "unknown_frames",
    )

    def __init__(self, policy: HeartbeatPolicy, identity: Identity, now: float, *, phase: float | None = None) -> None:
        self._policy = policy
        self._identity = identity
        self._phase = phase
        self._state = BeatState.IDLE
        self._events: list[Event] | None = None
        self._opened = self._over = False
        self.parted = False
        """Whether it is over because one side said goodbye: the stream then has some time to end by itself."""
        self._open_limit = now + policy.misses * policy.interval
        self._interval = policy.interval
        self._origin = self._due = math.inf
        self._slot = 0
        self._unslotted = False
        self._sequence = self._heard = 0
        self._sent_at = now
        self._consecutive = 0
        self._missed: dict[int, float] | None = None
        self.peer: Identity | None = None
        self.unknown_frames = 0
        self.stray_echoes = 0

    @property
    def state(self) -> BeatState:
        """Where the beat machine is."""
        return self._state

    @property
    def opened(self) -> bool:
        """Whether the peer has answered on this stream."""
        return self._opened

    @property
    def beaten(self) -> bool:
        """Whether a beat was sent on this stream."""
        return self._sequence > 0

    @property
    def over(self) -> bool:
        """Whether the stream is to be ended; nothing happens in the session any more."""
        return self._over

    @property
    def interval(self) -> float:
        """Seconds between beats now: the policy's, or longer if the peer advised so."""
        return self._interval

    def take_events(self) -> list[Event]:
        """Return what happened since the last call, oldest first."""
        events, self._events = self._events, None
        return events or []

    def hello(self) -> Hello:
        """Return the frame that opens the stream."""
        return Hello(self._identity)

    def next_wakeup(self) -> float | None:
        """Return the instant at which to call :meth:`wake`, or ``None`` once the session is over."""
        if self._over:
            return None
        if not self._opened:
            return self._open_limit
        if self._in_flight:
            return self._sent_at + self._policy.beat_timeout
        return self._due

    def wake(self, now: float) -> None:
        """Judge what is overdue at ``now``. Ask :meth:`beat_due` next."""
        wakeup = self.next_wakeup()
        if wakeup is None or now < wakeup:
            return
        if not self._opened:
            self._fail(now, "the peer did not answer the stream in time", "silent")
        elif self._in_flight:
            self._miss(now)

    def beat_due(self, now: float) -> int | None:
        """Return the sequence of the beat to send now, or ``None``. Its trace context can be made before it is sent."""
        due = self._opened and not self._over and not self._in_flight and now >= self._due
        return self._sequence + 1 if due else None

    def send_beat(self, now: float, trace_context: bytes = b"") -> Beat | None:
        """Put the beat that is due in flight and return it; ``None`` if none is due any more."""
        if self.beat_due(now) is None:
            return None
        self._state = advance(self._state, BeatInput.SEND)
        if self._sequence == 0 and self._phase is not None:
            self._origin = self._phase * self._interval
        following = self._slot_of(now) + 1
        self._unslotted = following <= self._slot
        self._slot = max(self._slot, following)
        self._due = self._next_slot
        self._sequence += 1
        self._sent_at = now
        self._tell(BeatSent(now, self._sequence))
        promise = self._interval + self._policy.beat_timeout
        return Beat(self._sequence, self._policy.type, trace_context, promise)

    def written(self, sequence: int, now: float) -> None:
        """Note that the transport took the beat ``sequence``. Late and repeated reports are ignored."""
        if sequence == self._sequence and self._state is BeatState.SENDING:
            self._state = advance(self._state, BeatInput.WRITTEN)

    def write_failed(self, now: float, why: str) -> None:
        """End the session: the transport refused a frame."""
        self.stream_closed(now, why)

    def receive(self, frame: Frame | None, now: float) -> list[Frame]:
        """Take in a frame of the peer, ``None`` for one of unknown kind; return the frames to answer with."""
        if self._over:
            return []
        if frame is None:
            self.unknown_frames += 1
            return []
        if not self._opened:
            self._open(now)
        if isinstance(frame, Ack):
            self._echo(frame, now)
        elif isinstance(frame, Hello):
            self._identify(frame, now)
        elif isinstance(frame, Goodbye):
            self._part(frame, now)
        else:
            return [Ack(frame.sequence)]
        return []

    def stream_closed(self, now: float, why: str, cause: FailureCause = "lost") -> None:
        """Note that the stream ended without being asked to. Nothing happens if the session is over."""
        if not self._over:
            self._fail(now, why, cause)

    def close(self, now: float, why: str = "closed") -> Goodbye:
        """End the session because its owner wants so; send the frame that is returned if the stream still stands."""
        if not self._over:
            self.parted = True
            self._end(now, why)
            self._tell(StreamClosed(now, why))
        return Goodbye(GoodbyeReason.CLOSING)

    def _tell(self, event: Event) -> None:
        if self._events is None:
            self._events = [event]
        else:
            self._events.append(event)

    @property
    def _in_flight(self) -> bool:
        return self._state is BeatState.SENDING or self._state is BeatState.WAITING

    @property
    def _next_slot(self) -> float:
        return self._origin + self._slot * self._interval

    def _slot_of(self, now: float) -> int:
        """Return the slot that ``now`` is in. What is rounded down to just before a slot is in it."""
        return math.floor((now - self._origin) / self._interval + _ROUNDING)

    def _open(self, now: float) -> None:
        self._opened = True
        self._origin = self._due = now
        self._tell(StreamOpened(now))

    def _identify(self, hello: Hello, now: float) -> None:
        if self.peer is None:
            if len(_known) >= _KNOWN_PEERS:
                _known.clear()
            self.peer = _known.setdefault(hello.identity, hello.identity)
            self._tell(PeerIdentified(now, self.peer))

    def _echo(self, ack: Ack, now: float) -> None:
        if self._in_flight and ack.sequence == self._sequence:
            self._state = advance(self._state, BeatInput.ECHO)
            self._consecutive = 0
            self._heard = ack.sequence
            self._tell(BeatAcked(now, ack.sequence, now - self._sent_at, ack))
            self._heed(ack.advised_interval)
            if ack.load is not None and ack.load.queue_delay is not None and not self._unslotted:
                self._ask_between(ack.load.queue_delay, now)
        elif self._missed and ack.sequence in self._missed:
            self._late_echo(ack, self._missed, now)
        elif ack.sequence == 0:  # no beat has this number: a peer's way to tell of its status by itself
            self._tell(ServingTold(now, ack.status))
        else:
            self.stray_echoes += 1

    def _late_echo(self, ack: Ack, missed: dict[int, float], now: float) -> None:
        """A peer answers beats in order: what counts as not echoed begins after the one that was.

        One that is too slow for its beats is asked less often, until it echoes in time: more of them would only queue up.
        """
        sequence = ack.sequence
        rtt = now - missed.pop(sequence)
        self._heard = heard = max(self._heard, sequence)
        later = [sent_at for other, sent_at in missed.items() if other > heard]
        self._consecutive = min(self._consecutive, len(later))
        waiting_since = later[0] if later else self._sent_at if self._in_flight else None
        self._tell(LateEcho(now, sequence, rtt, ack, waiting_since))
        own = self._policy.interval
        spaced = own * min(math.ceil(_SPACED * rtt / own), self._policy.misses)
        if spaced >= ack.advised_interval:
            self._heed(spaced, spread=False)
        else:
            self._heed(ack.advised_interval)

    def _ask_between(self, waited: float, now: float) -> None:
        limit = self._policy.longest_silence
        if _WAITING * limit <= waited < limit:
            self._due = min(self._due, now + limit - waited + _FRESH)

    def _heed(self, advised: float, *, spread: bool = True) -> None:
        """Beat at this interval; ``spread``: at this stream's phase in it, not as many slots later as that is."""
        own = self._policy.interval
        interval = max(own, min(advised, LONGEST_ADVISED_INTERVAL))
        if interval != self._interval:
            used = self._next_slot - self._interval
            self._interval = interval
            if self._phase is None or not spread:
                self._origin, self._slot = used, 1
            else:
                self._origin = self._phase * interval
                self._slot = math.ceil((used + own - self._origin) / interval)
            # A beat that was sent late in a long interval may have been sent in a later one of the short ones.
            self._slot = max(self._slot, self._slot_of(self._sent_at) + 1)
            self._due = self._next_slot

    def _miss(self, now: float) -> None:
        why = "not written" if self._state is BeatState.SENDING else "not echoed"
        self._state = advance(self._state, BeatInput.TIMEOUT)
        self._consecutive += 1
        if self._missed is None:
            self._missed = {}
        self._missed[self._sequence] = self._sent_at
        if len(self._missed) > _REMEMBERED_MISSES:
            del self._missed[next(iter(self._missed))]
        self._tell(BeatMissed(now, self._sequence, self._consecutive, why))
        if self._consecutive >= self._policy.misses:
            self._fail(now, f"{self._consecutive} beats in a row {why}", "silent")

    def _part(self, goodbye: Goodbye, now: float) -> None:
        self.parted = True
        self._end(now, "the peer said goodbye")
        self._tell(PeerLeft(now, goodbye.reason, goodbye.message))

    def _fail(self, now: float, why: str, cause: FailureCause) -> None:
        self._end(now, why)
        self._tell(StreamFailed(now, why, cause, self._opened))

    def _end(self, now: float, why: str) -> None:
        if self._in_flight:
            self._tell(BeatAbandoned(now, self._sequence, why))
        self._state = advance(self._state, BeatInput.GIVE_UP)
        self._over = True
