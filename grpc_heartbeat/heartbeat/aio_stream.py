"""A heartbeat stream of an asyncio server: who may write when, what the wheel finds, and how it ends.

The stream's own coroutine (``servicer_aio.py``) reads, answers and waits. Others have something to say, too: a drain its
goodbye, a server that beats its beats. Writes never overlap: whoever finds one under way leaves its frames in the outbox,
which the writer empties before it is done.

A coroutine that waits is ended by cancelling its task, which it tells from a cancelled RPC by ``gave_up``. That does not end
the RPC of a client that reads nothing: its status waits behind the answer that is not taken, grpc.aio knows no other end, and
so the RPC stays until the client goes. It keeps its place, so that there are never more such RPCs than streams are allowed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from grpc_heartbeat._grpcio_server_stream_aio import Joined
from grpc_heartbeat._ticks import Ticks
from grpc_heartbeat.core.frames import GOODBYE_KEY, Beat, Frame, Hello
from grpc_heartbeat.core.heartbeat_server import Due, ServerSession
from grpc_heartbeat.core.stream_limits import excess_frame
from grpc_heartbeat.core.wheel import COARSEST, Member
from grpc_heartbeat.heartbeat import codec
from grpc_heartbeat.heartbeat.held import HeldStreams

_log = logging.getLogger("grpc_heartbeat.heartbeat")


class Shared:
    """What the streams of one server on one loop have in common."""

    __slots__ = ("held", "loop", "streams", "tasks", "ticks")

    def __init__(self, held: HeldStreams, loop: asyncio.AbstractEventLoop, ticks: Ticks) -> None:
        self.held = held
        self.loop = loop
        self.ticks = ticks
        self.streams: set[AioStream] = set()
        self.tasks: set[asyncio.Task[None]] = set()


class AioStream(Member):
    """One stream, opened in the task that serves it.

    Args:
        host: Whose place it has.
        wire: Joins operations. ``None``: nothing can be joined.
    """

    __slots__ = (
        "_context",
        "_outbox",
        "_stuck",
        "_taken",
        "_task",
        "gave_up",
        "host",
        "joined",
        "session",
        "shared",
        "wire",
        "writing",
    )

    grain = COARSEST

    def __init__(
        self,
        shared: Shared,
        session: ServerSession,
        context: Any,
        host: str,
        wire: Joined | None,
    ) -> None:
        self.slot = None
        self.shared = shared
        self.session = session
        self.host = host
        self.wire = wire
        self.writing = False
        """Whether a task writes. It must call :meth:`wrote` when it is done."""
        self.joined = False
        """Whether a joined operation is under way, so that nothing can be written."""
        self.gave_up = False
        """Whether the stream is to be ended from here."""
        self._context: Any = context
        self._task = asyncio.current_task()
        self._outbox: list[Frame] | None = None
        self._stuck = False
        """Whether an answer was still under way when the stream was ended from here."""
        self._taken: asyncio.Future[None] | None = None
        shared.streams.add(self)
        shared.ticks.add(self, shared.loop.time() + shared.held.look)

    def answer(self, data: bytes) -> list[Frame]:
        """Take in a message; return what to write."""
        shared, session = self.shared, self.session
        held, now = shared.held, shared.loop.time()
        if len(data) > held.frame_bytes:
            held.oversized()
            session.refuse(excess_frame(len(data), held.limits), now)
            answers: list[Frame] = []
        else:
            started = held.tracing.started(now)
            promise = session.promise
            frame = codec.decode(data)
            answers = session.receive(frame, now, held.condition())
            if type(frame) is Beat:
                if started and answers:
                    held.spans.answered(frame, session.peer, started)
            elif type(frame) is Hello and session.peer is frame.identity:
                session.peer = held.known(frame.identity)
            if session.promise != promise or held.beats is not None:
                shared.ticks.add(self, self._next_look(now))
        if session.events:
            self._tell()
        return answers

    async def write(self, frames: Iterable[Frame]) -> None:
        """Send ``frames`` in order, and what others have left in the outbox meanwhile."""
        if self.writing:
            self._leave_to_writer(frames)
            self._taken = self._taken or self.shared.loop.create_future()
            await self._taken
            return
        self.writing = True
        self.session.unread_since = self.shared.loop.time()
        try:
            for frame in frames:
                await self._context.write(codec.encode(frame))
            while self._outbox:
                await self._context.write(codec.encode(self._outbox.pop(0)))
        finally:
            self.writing = False
            self._outbox = self.session.unread_since = None
            taken, self._taken = self._taken, None
            if taken is not None and not taken.done():
                taken.set_result(None)

    def write_soon(self, frames: Iterable[Frame]) -> None:
        """Have ``frames`` sent by another task."""
        if self.writing:
            self._leave_to_writer(frames)
            return
        task = self.shared.loop.create_task(self._write_aside(frames))
        self.shared.tasks.add(task)
        task.add_done_callback(self.shared.tasks.discard)

    def part(self, reason: str) -> None:
        """Say goodbye."""
        now = self.shared.loop.time()
        if self.joined:
            goodbye = self.session.drain_joined(reason, now)
            if goodbye is not None:
                self._context.set_trailing_metadata(((GOODBYE_KEY, codec.encode(goodbye)),))
                self._give_up()
        elif frames := self.session.drain(reason, now):
            self.write_soon(frames)
        self.shared.ticks.add(self, self._next_look(now))
        if self.session.events:
            self._tell()

    def tick(self, now: float) -> float | None:
        if self not in self.shared.streams:
            return None
        session, pauses = self.session, self.shared.ticks.pauses
        due = session.wake(now, pauses.excused(session.seen, now))
        if due is Due.CUT or (due is Due.END and not self.writing):
            self._give_up()
        elif (beat := session.own_beat(now)) is not None:
            self.write_soon((beat,))
        if session.events:
            self._tell()
        return self._next_look(now)

    def close(self) -> None:
        """Forget the stream: its handler is through."""
        shared = self.shared
        shared.streams.discard(self)
        shared.ticks.remove(self)
        self.session.closed(shared.loop.time())
        if self.session.events:
            self._tell()
        if self._stuck or self.writing:
            self._context.add_done_callback(self._leave)
        else:
            self._leave()
        self._task = self.wire = None
        self._context = None  # the wheel has our place until its time, and would have the RPC's memory

    def _leave(self, _context: Any = None) -> None:
        """Give the place back: the RPC is over."""
        self.shared.held.leave(self.host, self.session)

    def _leave_to_writer(self, frames: Iterable[Frame]) -> None:
        self._outbox = [*(self._outbox or ()), *frames]

    async def _write_aside(self, frames: Iterable[Frame]) -> None:
        try:
            if self in self.shared.streams:
                await self.write(frames)
        except Exception:  # the client left at the same moment; its handler has seen that too
            _log.debug("a client left before it was told something", exc_info=True)

    def _give_up(self) -> None:
        if self._task is not None:
            self.gave_up = True
            self._stuck = self.writing or self.joined
            self._task.cancel()

    def _next_look(self, now: float) -> float:
        due = self.session.next_wakeup()
        return now + self.shared.held.look if due is None else min(due, now + self.shared.held.look)

    def _tell(self) -> None:
        events = self.session.take_events()
        self.shared.held.count(events)
        self.shared.held.tell(events)
