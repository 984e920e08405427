"""Heartbeat streams of a synchronous server by public API alone: a thread each, which waits for requests.

Where gRPC handed over a function that sends, a drain says goodbye on another thread and ends the stream; the waiting thread is
then let go (*pushed*). Where an interceptor's wrapper lost the mark that asks for it, the stream is an iterator of answers and
its goodbye follows its next answer (*iterated*).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from grpc_heartbeat import _faults
from grpc_heartbeat._ticks import ticks
from grpc_heartbeat._timers import clock
from grpc_heartbeat.core.frames import Beat, Frame, Hello
from grpc_heartbeat.core.heartbeat_server import Due, ServerSession
from grpc_heartbeat.core.stream_limits import excess_frame
from grpc_heartbeat.core.wheel import COARSEST, Member
from grpc_heartbeat.heartbeat import codec
from grpc_heartbeat.heartbeat.held import HeldStreams, status_of
from grpc_heartbeat.heartbeat.pool import DaemonPool

GOODBYE_LIMIT = 2.0
"""Seconds that the writing of a goodbye may take before the stream is cut."""

Send = Callable[[bytes | None], None]


class ThreadedStream(Member):
    """A stream and the thread that waits for its frames. Also a member of the wheel, which finds out what is overdue.

    Args:
        send: gRPC's function that sends; ``None`` for an iterated stream.
        pool: Sends what another thread than the waiting one has to say. Sending may block, the timer thread must not.
    """

    __slots__ = ("_context", "_cut_at", "_ended", "_held", "_over", "_pool", "_send", "_sending", "lock", "session")

    grain = COARSEST

    def __init__(
        self,
        held: HeldStreams,
        session: ServerSession,
        context: Any,
        send: Send | None,
        pool: DaemonPool,
    ) -> None:
        self.slot = None
        self.session = session
        self.lock = threading.Lock()
        """Guards the session. Sending is guarded by a lock of its own, because it may block."""
        self._held = held
        self._context: Any = context
        self._send = send
        self._pool = pool
        self._sending = threading.Lock()
        self._ended = self._over = False
        self._cut_at: float | None = None

    @property
    def pushed(self) -> bool:
        """Whether others than the waiting thread may send."""
        return self._send is not None

    def answers(self, requests: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the answers to the requests, until there are no more of either."""
        ticks().add(self, clock() + self._held.look)
        for data in requests:
            with self.lock:
                answers = self._answer(data)
            self._tell()
            for answer in answers:
                yield codec.encode(answer)
            if self.session.over:
                return

    def _answer(self, data: bytes) -> list[Frame]:
        now, held, session = clock(), self._held, self.session
        if len(data) > held.frame_bytes:
            held.oversized()
            session.refuse(excess_frame(len(data), held.limits), now)
            return []
        started = held.tracing.started(now)
        promise = session.promise
        frame = codec.decode(data)
        answers = session.receive(frame, now, held.condition())
        if isinstance(frame, Beat):
            if answers and started:
                held.spans.answered(frame, session.peer, started)
        elif isinstance(frame, Hello) and session.peer is frame.identity:
            session.peer = held.known(frame.identity)
        if session.promise != promise or held.beats is not None:
            ticks().add(self, self._next_look(now))
        return answers

    def send(self, message: bytes) -> None:
        """Send ``message``, unless the stream has ended."""
        with self._sending:
            if not self._ended and self._send is not None:
                with self.lock:
                    self.session.unread_since = clock()
                self._send(message)
                with self.lock:
                    self.session.unread_since = None

    def end(self) -> None:
        """End the stream, once."""
        with self._sending:
            if not self._ended and self._send is not None:
                self._ended = True
                code, details = status_of(self.session)
                self._context.set_code(code)
                self._context.set_details(details)
                self._send(None)

    def finish(self, requests: Iterator[bytes]) -> None:
        """End the stream after the last answer; if that was a goodbye, after the client has ended its side or had its time."""
        if self.session.parted:
            ticks().add(self, self._next_look(clock()))
            for _ in requests:
                pass
        self.end()

    def close(self) -> None:
        """Forget the stream: the RPC is over."""
        self._over = True
        ticks().remove(self)
        with self.lock:
            self.session.closed(clock())
        self._tell()
        with self._sending:
            self._ended = True
            self._context = self._send = None  # the wheel has our place until its time, and would have the RPC's memory

    def part(self, reason: str) -> None:
        """Say goodbye, and end the stream when the client had its time to; cut it if the client does not take the goodbye."""
        try:
            with self.lock:
                frames = self.session.drain(reason, clock())
                if not frames:
                    return  # the answering thread is about to end it
                self._cut_at = clock() + GOODBYE_LIMIT
            ticks().add(self, self._cut_at)
            for frame in frames:
                self.send(codec.encode(frame))
            with self.lock:
                self._cut_at = None
                due = self._next_look(clock())
            ticks().add(self, due)
        except Exception as error:
            _faults.record("heartbeat.goodbye", error)

    def tick(self, now: float) -> float | None:
        if self._over:
            return None
        with self.lock:
            if self._cut_at is not None and now >= self._cut_at:
                self._cancel()
                return None
            session = self.session
            due = session.wake(now, ticks().pauses.excused(session.seen, now))
            beat = session.own_beat(now) if due is None and self._send is not None else None
            again: float | None = self._next_look(now)
        if due is Due.CUT:
            again = None
            self._cancel()
        elif due is Due.END:
            self._pool.submit(self.end)
        elif beat is not None:
            self._pool.submit(self.send, codec.encode(beat))
        self._tell()
        return again

    def _cancel(self) -> None:
        context = self._context
        if context is not None:
            context.cancel()

    def _next_look(self, now: float) -> float:
        wanted = [now + self._held.look, self.session.next_wakeup(), self._cut_at]
        return min(instant for instant in wanted if instant is not None)

    def _tell(self) -> None:
        with self.lock:
            events = self.session.take_events()
        if events:
            self._held.count(events)
            self._held.tell(events)
