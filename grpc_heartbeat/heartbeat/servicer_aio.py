"""The Heartbeat service on an asyncio server.

Each stream is a coroutine that reads, answers and waits; a drain says goodbye on behalf of those that wait. A
stream's writes never overlap: whoever finds a write under way leaves the goodbye to the writer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat.config import Identity
from grpc_heartbeat.core.frames import Beat, Frame
from grpc_heartbeat.core.heartbeat_server import PARTING, Condition, ServerSession
from grpc_heartbeat.health import HealthBoard
from grpc_heartbeat.heartbeat import codec
from grpc_heartbeat.heartbeat.answers import answer_ping, too_many_streams
from grpc_heartbeat.telemetry.beats import ServerBeats

_log = logging.getLogger("grpc_heartbeat.heartbeat")


class AioHeartbeatServicer:
    """Answers heartbeats with the status on ``board``.

    Args:
        condition: Called on the loop for each beat to say how this server is now; it must be quick.
        max_streams: Streams held at a time. More are refused with RESOURCE_EXHAUSTED.
    """

    def __init__(
        self,
        board: HealthBoard,
        identity: Identity,
        beats: ServerBeats,
        condition: Callable[[], Condition],
        *,
        advised_interval: float = 0.0,
        max_streams: int = 10_000,
    ) -> None:
        self._board = board
        self._identity = identity
        self._beats = beats
        self._advised_interval = advised_interval
        self._max_streams = max_streams
        self.condition = condition
        self._loop: asyncio.AbstractEventLoop | None = None
        self._streams: set[_Stream] = set()
        self._goodbyes: set[asyncio.Task[None]] = set()
        board.on_leave(self._leave)

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the handlers by method name."""
        keepalive: Any = self._keepalive
        ping: Any = self._ping
        return {
            "Keepalive": grpc.stream_stream_rpc_method_handler(keepalive),
            "Ping": grpc.unary_unary_rpc_method_handler(ping),
        }

    async def _keepalive(self, requests: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        self._loop = asyncio.get_running_loop()
        if len(self._streams) >= self._max_streams:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, too_many_streams(self._max_streams))
        session = ServerSession(self._identity, advised_interval=self._advised_interval)
        stream = _Stream(session, context, self._loop)
        self._streams.add(stream)
        try:
            await self._answer(stream)
        finally:
            self._streams.discard(stream)
            stream.close()

    async def _answer(self, stream: _Stream) -> None:
        session = stream.session
        while (data := await stream.read()) is not None:
            started = time.time_ns()  # wall clock: spans are dated
            frame = codec.decode(data)
            answers = session.receive(frame, stream.loop.time(), self.condition())
            if isinstance(frame, Beat) and answers:
                self._beats.answered(frame, session.peer, started)
                stream.expect_next()
            await stream.write(answers)
            if self._board.leaving is not None:
                await stream.write(session.drain(self._board.leaving))
            if session.over:
                break
        if session.parted:
            await stream.wait_for_end()

    async def _ping(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return answer_ping(request, self._identity, self.condition(), self._advised_interval, self._beats)

    def _leave(self, reason: str) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._say_goodbye, reason)

    def _say_goodbye(self, reason: str) -> None:
        for stream in tuple(self._streams):
            if not stream.writing:
                task = asyncio.ensure_future(_part(stream, reason))
                self._goodbyes.add(task)
                task.add_done_callback(self._goodbyes.discard)


class _Stream:
    """One stream: its session and its reading and writing."""

    def __init__(
        self, session: ServerSession, context: grpc.aio.ServicerContext[bytes, bytes], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.session = session
        self.loop = loop
        self.writing = False
        self.patience = loop_timers(loop).alarm(self._judge_silence)
        self._parting = loop_timers(loop).timeout(PARTING, self.stop_reading)
        self._context = context
        self._task = asyncio.current_task()
        self._gave_up = False

    async def read(self) -> bytes | None:
        """Return the next message; ``None`` when the client has ended the stream, or is held to be gone."""
        try:
            data: Any = await self._context.read()
        except asyncio.CancelledError:
            if self._gave_up:
                return None
            raise
        return None if data is grpc.aio.EOF else data

    async def write(self, frames: list[Frame]) -> None:
        """Send ``frames`` in order."""
        self.writing = True
        try:
            for frame in frames:
                await self._context.write(codec.encode(frame))
        finally:
            self.writing = False

    def expect_next(self) -> None:
        """Set the alarm by the client's promise of its next beat."""
        wakeup = self.session.next_wakeup()
        if wakeup is not None:
            self.patience.arm(wakeup)

    def expect_end(self) -> None:
        """Give the client its time to end its side after our goodbye."""
        self._parting.arm(self.loop.time())

    async def wait_for_end(self) -> None:
        """Wait until the client has ended its side, or had its time to."""
        self.expect_end()
        while await self.read() is not None:
            pass

    def close(self) -> None:
        """Forget the stream: the RPC is over."""
        self.patience.cancel()
        self._parting.cancel()

    def _judge_silence(self) -> None:
        if self.session.wake(self.loop.time()):
            self.stop_reading()

    def stop_reading(self) -> None:
        """End the stream, unless it is writing."""
        if self._task is not None and not self.writing:
            self._gave_up = True
            self._task.cancel()


async def _part(stream: _Stream, reason: str) -> None:
    try:
        await stream.write(stream.session.drain(reason))
        stream.expect_end()
    except Exception:  # the client left at the same moment; its handler has seen that too
        _log.debug("a client left before the goodbye", exc_info=True)
