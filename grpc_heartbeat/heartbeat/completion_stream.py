"""A heartbeat stream of a synchronous server that holds no thread: it is moved by completion events, and by the wheel.

Frames come on the server's one thread, ticks on the timer thread, a drain's goodbye on a thread of its own; all meet under the
stream's lock. Nothing in here waits. What cannot be sent yet is queued, and while something is queued nothing is received, so
a client that does not read is not read from either, and no queue grows.

A stream is *released* once it is known to be over: its place is free, and nobody calls it any more. After it was ended from
here, the client has :data:`LIMIT` seconds to take that; then it is cut.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from grpc_heartbeat._grpcio_server_stream import ServerStream, gone
from grpc_heartbeat._ticks import ticks
from grpc_heartbeat._timers import clock
from grpc_heartbeat.core.frames import Beat, Frame, Hello
from grpc_heartbeat.core.heartbeat_server import Due, ServerSession
from grpc_heartbeat.core.stream_limits import excess_frame
from grpc_heartbeat.core.wheel import COARSEST, Member
from grpc_heartbeat.heartbeat import codec
from grpc_heartbeat.heartbeat.beat_spans import BeatSpans
from grpc_heartbeat.heartbeat.held import GOODBYE_KEY, HeldStreams, status_of
from grpc_heartbeat.heartbeat.pool import DaemonPool

LIMIT = 2.0
"""Seconds that a client has to take the end of its stream."""


class Completions:
    """The streams of one server that are moved by completion events, and what they share.

    Args:
        pool: Tells observers, and says goodbye; one thread, so that observers hear things in order.
    """

    def __init__(self, held: HeldStreams, pool: DaemonPool) -> None:
        self.held = held
        self.pool = pool
        self.spans = BeatSpans(held.spans)
        self._streams: set[CompletionStream] = set()
        self._lock = threading.Lock()

    def add(self, stream: CompletionStream) -> None:
        """Have ``stream`` hear of a drain."""
        with self._lock:
            self._streams.add(stream)

    def remove(self, stream: CompletionStream) -> None:
        """Forget ``stream``."""
        with self._lock:
            self._streams.discard(stream)

    def leave(self, reason: str) -> None:
        """Say goodbye on all streams."""
        with self._lock:
            streams = tuple(self._streams)
        for stream in streams:
            self.pool.submit(stream.part, reason)


class CompletionStream(Member):
    """One stream. It takes its place with it when it is released.

    Args:
        host: Whose place it has.
    """

    __slots__ = ("_cut_at", "_host", "_queue", "_wire", "session", "shared")

    grain = COARSEST

    def __init__(self, shared: Completions, session: ServerSession, host: str, wire: ServerStream) -> None:
        self.slot = None
        self.shared = shared
        self.session = session
        self._host: str | None = host
        self._wire: ServerStream = wire
        self._queue: list[bytes] | None = None
        self._cut_at: float | None = None

    def begin(self) -> bool:
        """Receive the first frame; False, and nothing has happened, if that is not possible."""
        shared = self.shared
        with self._wire.lock:
            if not self._wire.begin(self):
                return False
            shared.add(self)
            ticks().add(self, clock() + shared.held.look)
        leaving = shared.held.board.leaving
        if leaving is not None:  # whoever looked through the streams may have missed this one
            self.part(leaving)
        return True

    def received(self, data: bytes | None) -> None:
        now = clock()
        wire, session, held = self._wire, self.session, self.shared.held
        with wire.lock:
            if data is None:
                session.closed(now)
                self._release()
                wire.end()
            elif session.over:
                wire.receive()  # until the client ends its side
            elif len(data) > held.frame_bytes:
                held.oversized()
                session.refuse(excess_frame(len(data), held.limits), now)
                self._end()
            else:
                self._answer(data, now)
            if session.events:
                self._tell()

    def _answer(self, data: bytes, now: float) -> None:
        session, shared = self.session, self.shared
        started = shared.held.tracing.started(now)
        frame = codec.decode(data)
        promise = session.promise
        answers = session.receive(frame, now, shared.held.condition())
        if session.promise != promise:
            ticks().add(self, self._next_look(now))
        if type(frame) is Beat:
            if started and answers:
                shared.spans.note(frame, session.peer, started)
            if (
                session.joined
                and len(answers) == 1
                and not session.over
                and self._wire.answer(codec.encode(answers[0]))
            ):
                return
        elif type(frame) is Hello and session.peer is frame.identity:
            session.peer = shared.held.known(frame.identity)
        self._send(answers)
        if session.over and not session.parted:
            self._end()
            return
        if self._queue is None:
            self._wire.receive()
        self._look_again(now)

    def sent(self) -> None:
        with self._wire.lock:
            self.session.unread_since = None
            queue = self._queue
            if queue:
                self._transmit(queue.pop(0))
            if not queue and self._cut_at is None:
                self._queue = None
                self._wire.receive()

    def tick(self, now: float) -> float | None:
        session = self.session
        with self._wire.lock:
            if self._host is None:
                return None
            if self._cut_at is not None:
                if now < self._cut_at:
                    return self._cut_at
                self._cut()
                return None
            due = session.wake(now, ticks().pauses.excused(session.seen, now))
            if due is Due.CUT:
                self._cut()
            elif due is Due.END:
                self._end()
            elif (beat := session.own_beat(now)) is not None:
                self._send((beat,))
            if session.events:
                self._tell()
            return None if self._host is None else self._next_look(now)

    def part(self, reason: str) -> None:
        """Say goodbye."""
        now = clock()
        session, wire = self.session, self._wire
        with wire.lock:
            if self._host is None:
                return
            if wire.joined:
                goodbye = session.drain_joined(reason, now)
                if goodbye is not None:
                    self._end(((GOODBYE_KEY, codec.encode(goodbye)),))
            else:
                self._send(session.drain(reason, now))
            ticks().add(self, self._next_look(now))
            if session.events:
                self._tell()

    def _send(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            data = codec.encode(frame)
            if self._queue is not None:
                self._queue.append(data)
            elif not self._transmit(data) and self._wire.sending:
                self._queue = [data]

    def _transmit(self, data: bytes) -> bool:
        sent = self._wire.send(data)
        if sent:
            self.session.unread_since = clock()
        return sent

    def _end(self, trailers: tuple[tuple[str, bytes], ...] | None = None) -> None:
        """End the stream, and see to it that the client takes that."""
        self._cut_at = clock() + LIMIT
        self._queue = None
        self._wire.receive()  # its end is how the end of the RPC is seen
        code, details = status_of(self.session)
        self._wire.end(code, details, trailers)
        ticks().add(self, self._cut_at)

    def _cut(self) -> None:
        wire = self._wire
        self._release()
        wire.cancel()

    def _release(self) -> None:
        host, self._host = self._host, None
        if host is not None:
            ticks().remove(self)
            self.shared.remove(self)
            self.shared.held.leave(host, self.session)
            wire, self._wire = (
                self._wire,
                _GONE,
            )  # the wheel has its place until its time, and would have the call's memory
            wire.release()

    def _look_again(self, now: float) -> None:
        """Have the wheel come earlier, if something is due before it will look by itself."""
        if self.session.parted or self.shared.held.beats is not None:
            ticks().add(self, self._next_look(now))

    def _next_look(self, now: float) -> float:
        if self._cut_at is not None:
            return self._cut_at
        due = self.session.next_wakeup()
        return now + self.shared.held.look if due is None else min(due, now + self.shared.held.look)

    def _tell(self) -> None:
        events = self.session.take_events()
        self.shared.held.count(events)
        if self.shared.held.observers:
            self.shared.pool.submit(self.shared.held.tell, events)


_GONE = gone()
"""What a released stream has for a wire."""
