"""What the heartbeats of both stacks share: streams, one after the other, driven by what happens to them and by a wheel.

Theory of operation
-------------------
A heartbeat has no thread, task or timer of its own. It is a member of the wheel of its stack (``_ticks.py``), which wakes it at
the next instant at which anything is due: a beat, the end of the wait for an echo or for the opening of a stream, the reopening
after a pause, the end of a farewell. Everything else is reported by its stream (``heartbeat/streams.py``): a message, a message
that was written, the end. Each of these events changes the session and the client (the core) under the lock; then, without
it, follows what the change asks for: frames are sent, a stream is ended, the wheel is told of an earlier wake-up, and the
events of the core are delivered. Nothing of grpc's, of OpenTelemetry's or of observers is called while the lock is held.

A stream that is over for us may still stand: after a goodbye both ends have :data:`calls.GOODBYE_GRACE` seconds to end it, then
it is cancelled; one that failed is cancelled at once. Such streams are *parting*: nothing that they report matters any more but
their end. The next stream does not wait for it.

A stream stays on the connection on which it was opened. When the channel has gone over to another one (GOAWAY, for the server's
maximum age of connections, or a drain of a proxy), the old one would be watched for ever and mean nothing. So before each beat
the channel is asked whether its connection may have been replaced, and then the stream is *moved*: closed with a goodbye, and
opened anew some time within an interval, so that not all clients come at once. That is no alarm. A channel that has no
connection while a stream on it is open has left that stream's; and so has one that has a connection again, of which is known
only when calls with a time-out for connecting met it without one (``channel/connection.py``). Once these have theirs, the
stream is looked at without waiting for its next beat.
"""

from __future__ import annotations

import itertools
import math
import random
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._ticks import Ticks
from grpc_heartbeat.config import BreakerPolicy, HeartbeatPolicy, Identity
from grpc_heartbeat.core.beat_breaker import BeatBreaker
from grpc_heartbeat.core.events import Event, Observers
from grpc_heartbeat.core.heartbeat import ClientSession, phase_of
from grpc_heartbeat.core.heartbeat_client import HeartbeatClient
from grpc_heartbeat.core.heartbeat_events import FailureCause
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot
from grpc_heartbeat.core.wheel import Member, grain_of
from grpc_heartbeat.heartbeat import calls, codec
from grpc_heartbeat.heartbeat.delivery import OrderedDelivery
from grpc_heartbeat.heartbeat.parting import Parting
from grpc_heartbeat.heartbeat.streams import Stream
from grpc_heartbeat.telemetry.beats import BeatTracing, ClientBeats

LONGEST_MOVE = 1.0
"""Seconds within which a stream is opened on the new connection, or within its interval if that is shorter."""

_serial = itertools.count()


class Heartbeat(Member):
    """The life of a heartbeat over its streams; ``SyncHeartbeat`` and ``AioHeartbeat`` say how its stack does things.

    Args:
        now: Reads the stack's clock.
        lock: Guards the state; on a loop there is nothing to guard.
        breaker: The policy of the breaker that this moves, for a channel that is guarded by one.
    """

    def __init__(
        self,
        policy: HeartbeatPolicy | None,
        identity: Identity | None,
        name: str,
        tracer_provider: Any,
        now: float,
        lock: AbstractContextManager[Any],
        breaker: BreakerPolicy | None = None,
    ) -> None:
        self.policy = policy or HeartbeatPolicy()
        self.identity = identity or Identity()
        self.name = name
        self.observers = Observers(calls.observer_failed)
        self.owner: weakref.ref[Any] | None = None
        """Set by a channel: once it is gone, nobody else can close the heartbeat, and its next event does."""
        self.slot = None
        self.grain = grain_of(self.policy.interval)
        phase = phase_of(self.identity.service, self.identity.instance, name, str(next(_serial)))
        self._client = HeartbeatClient(self.policy, self.identity, now, random.random, phase=phase, breaker=breaker)
        self._tracing = BeatTracing(self.identity, self.policy.type, tracer_provider)
        self._delivery: OrderedDelivery[ClientBeats | None] = OrderedDelivery(self._tell)
        self._lock = lock
        self._stream: Stream | None = None
        self._session: ClientSession | None = None
        self._beats: ClientBeats | None = None
        self._parting = Parting()
        self._open_at: float | None = None
        self._armed = math.inf
        """The instant for which the wheel knows us, or an earlier one."""
        self._started = self._closing = False
        self.unconnected: Callable[[], int] | None = None
        """Set by a channel: how often its calls found no connection so far."""
        self._unconnected = 0
        self.guard: Callable[[Event], None] | None = None
        """Set by a guarded channel: hears every event first, on the thread that met it. It must not raise."""
        self._unconnected_at_first = False
        """Whether the present stream was opened on a channel that had no connection, so that it gets a fresh one."""

    @property
    def breaker(self) -> BeatBreaker | None:
        """The breaker that this moves, or ``None``."""
        return self._client.breaker

    def snapshot(self) -> HeartbeatSnapshot:
        """Return what is known about the peer now, without taking a lock; from any thread."""
        return self._client.snapshot_at(self._now())

    # What the stack says.

    def _now(self) -> float:
        raise NotImplementedError

    def _wheel(self) -> Ticks:
        raise NotImplementedError

    def _new_stream(self) -> Stream:
        """Return a stream on the present channel that is not started."""
        raise NotImplementedError

    def _ready(self) -> bool | None:
        """Tell whether the channel has a connection; ``None`` if that cannot be known."""
        raise NotImplementedError

    def _tell(self, event: Event, beats: ClientBeats | None) -> None:
        """Deliver an event, without the lock; ``beats`` are the spans of its stream, if it has one."""
        raise NotImplementedError

    def _gone(self) -> None:
        """Hear, maybe more than once, that the heartbeat is closed and its last stream has ended."""
        raise NotImplementedError

    # What streams report.

    def received(self, stream: Stream, data: bytes) -> None:
        """Take in a message."""
        frame = codec.decode(data)
        now = self._now()
        with self._lock:
            session = self._session
            if session is None or stream is not self._stream:
                return
            replies = session.receive(frame, now)
            earlier = self._note(session, now)
        for reply in replies:
            stream.send(codec.encode(reply))
        self._settle(session, now, earlier)

    def written(self, stream: Stream, number: int) -> None:
        """Note that the transport has taken the beat ``number``."""
        now = self._now()
        with self._lock:
            if self._session is None or stream is not self._stream:
                return
            self._session.written(number, now)
            events = self._client.written(now)
            if events:
                self._delivery.queue(events, self._beats)
        if events:
            self._delivery.deliver()

    def ended(self, stream: Stream, code: grpc.StatusCode | None, details: str | None) -> None:
        """Take note of the end of a stream; ``code`` is ``None`` if it is not known."""
        if code is grpc.StatusCode.OK:
            self._ended(stream, "the peer ended the stream", "lost")
        else:
            self._ended(stream, calls.describe(code, details), calls.failure_cause(code, details))

    def cut_off(self, stream: Stream, why: str) -> None:
        """Take note of the end of a stream whose status cannot be seen."""
        self._ended(stream, why, "unclear")

    def channel_closed(self, stream: Stream, error: Exception) -> None:
        """Take note that no stream can be opened because the channel is closed."""
        why = f"the channel is closed ({error})"
        self._ended(stream, why, "lost")
        self._close(why)

    def _ended(self, stream: Stream, why: str, cause: FailureCause) -> None:
        now = self._now()
        with self._lock:
            if stream is not self._stream or self._session is None:
                self._parting.ended(stream)
                session = earlier = None
            else:
                session, self._stream = self._session, None
                session.stream_closed(now, why, cause)
                earlier = self._note(session, now)
        if session is not None:
            self._settle(session, now, earlier)
        else:
            self._rest()

    def connected_anew(self) -> None:
        """Look soon whether the present stream was left behind, because the channel made a connection; from any thread."""
        if self._started and not self._closing:
            self._wheel().add(self, self._now())

    # What the wheel wakes.

    def tick(self, now: float) -> float | None:
        """Do what is due; return when the next is."""
        try:
            self._turn(now)
        except Exception as error:
            _faults.record("heartbeat.tick", error)
        with self._lock:
            due = self._armed = math.inf if self._rests() else self._next_due(now)
        return None if due == math.inf else due

    def _turn(self, now: float) -> None:
        session, sequence = self._session, None
        with self._lock:
            self._armed = -math.inf  # until the end of the tick, which looks at everything that changes meanwhile
            if session is not None:
                if self._unconnected_at_first and not session.opened and self._ready():
                    self._delivery.queue(self._client.transport_answered(now), self._beats)
                session.wake(now)
                sequence = session.beat_due(now)
            self._delivery.queue(self._client.wake(now), None)
            earlier = self._note(session, now)
            overdue = self._parting.overdue(now)
        for stream in overdue:
            stream.cancel()
        if session is not None and self._client.may_rise(now):
            self._leave(now, "a better level is tried", 0.0)
        elif session is not None and self._replaced(session, sequence):
            self._leave(now, "the connection was replaced", random.random() * min(LONGEST_MOVE, self.policy.interval))
        elif session is not None and sequence is not None:
            self._beat(session, sequence, now)
        else:
            self._settle(session, now, earlier)
        if self._open_at is not None and now >= self._open_at:
            self._open(now)

    def _beat(self, session: ClientSession, sequence: int, now: float) -> None:
        stream, beats = self._stream, self._beats
        if stream is None or beats is None:  # it ended a moment ago
            return
        trace_context = beats.start(sequence)
        with self._lock:
            beat = session.send_beat(now, trace_context)
            earlier = self._note(session, now)
        if beat is None:
            beats.drop(sequence)
        else:
            stream.send(codec.encode(beat), beat.sequence)
        self._settle(session, now, earlier)

    def _replaced(self, session: ClientSession, sequence: int | None) -> bool:
        """Tell whether the present stream, of which this beat is due, is on a connection that its channel has left."""
        if self._stream is None or session.over:  # it ended a moment ago
            return False
        unconnected = 0 if self.unconnected is None else self.unconnected()
        if sequence == 1:
            self._unconnected = unconnected
        changed = unconnected != self._unconnected
        return session.beaten and changed if sequence is None else changed or self._ready() is False

    # Opening and leaving.

    def _start(self) -> None:
        now = self._now()
        with self._lock:
            if self._started or self._closing:
                return
            self._started = True
            self._open_at = now
        self._open(now)

    def _open(self, now: float) -> None:
        with self._lock:
            if self._closing or self._open_at is None or self._session is not None:
                return
            self._open_at = None
            self._unconnected_at_first = self._ready() is False
            session, opening = self._client.opening(now)
            self._session, self._beats = session, self._tracing.stream()
            self._stream = stream = self._new_stream()
            stream.send(codec.encode(session.hello()))  # it is only put by until the stream is started
            self._delivery.queue(self._client.publish([opening]), self._beats)
            earlier = self._note(session, now)
        self._settle(session, now, earlier)
        try:
            stream.start()
        except Exception as error:
            _faults.record("heartbeat.open", error)
            self._ended(stream, f"internal fault: {error!r}", "lost")

    def _leave(self, now: float, why: str, after: float) -> None:
        """Close the present stream, if there is one, and open the next in ``after`` seconds."""
        with self._lock:
            self._open_at = None if self._closing else now + after
            session, stream = self._session, self._stream
            goodbye = None if session is None or session.over else session.close(now, why)
            earlier = self._note(session, now)
        if stream is not None and goodbye is not None:
            stream.send(codec.encode(goodbye))
        self._settle(session, now, earlier)

    def _close(self, why: str) -> None:
        """Close for good: say goodbye on the stream, if there is one."""
        now = self._now()
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._leave(now, "closed", math.inf)
        with self._lock:
            event = self._client.close(now, why)
            if event is not None:
                self._delivery.queue([event], None)
        self._rest()
        self._delivery.deliver()

    def _rests(self) -> bool:
        return self._closing and self._session is None and self._stream is None and not self._parting

    def _rest(self) -> None:
        """Be gone, if the heartbeat is closed and its last stream has ended."""
        with self._lock:
            if not self._rests():
                return
        if self._started:
            self._wheel().remove(self)
        self._gone()

    # What follows a change.

    def _next_due(self, now: float) -> float:
        session = self._session
        due = self._open_at if session is None else session.next_wakeup()
        own = self._client.next_wakeup(now)
        if due is None or (own is not None and own < due):
            due = math.inf if own is None else own
        return min(due, self._parting.next_cut)

    def _note(self, session: ClientSession | None, now: float) -> float | None:
        """Take the events of a change, with the lock held; return the instant to tell the wheel, if it is an earlier one."""
        events = None if session is None else session.take_events()
        if events:
            self._delivery.queue(self._client.publish(events), self._beats)
        if self._armed == -math.inf:  # a tick is under way, and looks when all is done
            return None
        due = self._next_due(now)
        if due >= self._armed:
            return None
        self._armed = due
        return due

    def _settle(self, session: ClientSession | None, now: float, earlier: float | None) -> None:
        """Do what a change asks for, without the lock."""
        if session is not None and session.over:
            earlier = self._part(session, now) or earlier
        elif session is not None and self._client.given_up:
            earlier = self._give_up(session, now) or earlier
        if earlier is not None:
            self._wheel().add(self, earlier)
        self._delivery.deliver()
        if self.owner is not None and self.owner() is None and not self._closing:
            self._close("its channel is gone")

    def _give_up(self, session: ClientSession, now: float) -> float | None:
        """Leave the stream on which the breaker opened, as one that failed; return what ``_note`` does."""
        with self._lock:
            if session is not self._session or session.over:  # somebody else left it, and knows when to open the next
                return None
            stream, goodbye = self._stream, session.close(now, "the breaker opened")
            self._note(session, now)
        if stream is not None:
            stream.send(codec.encode(goodbye))
        return self._part(session, now)

    def _part(self, session: ClientSession, now: float) -> float | None:
        """Part with the stream of a session that is over; return what ``_note`` does."""
        with self._lock:
            if session is not self._session:  # somebody else did so
                return None
            stream = self._stream
            self._session = self._stream = self._beats = None
            if stream is not None:
                self._parting.add(stream, now + calls.GOODBYE_GRACE)
            if self._open_at is None and not self._closing:
                pause = self._client.pause()
                self._open_at = None if pause is None else now + pause
            earlier = self._note(None, now)
        if stream is not None:
            if session.parted:
                stream.finish()
            else:
                stream.cancel()
        return earlier
