"""The Heartbeat service on a synchronous server.

Streams run on a pool of their own, so that heartbeats take no worker from the application and a busy application delays no
answer. gRPC finds the pool as the attribute ``experimental_thread_pool`` of the handler *function*; bound methods share their
function between instances, so each servicer makes functions of its own.

A stream's thread waits for requests. The attribute ``experimental_non_blocking`` makes gRPC hand over a function that sends, so
that a drain can say goodbye on another thread and end the stream; the waiting thread is then let go. Where an interceptor's
wrapper lost that attribute, the stream is an iterator of answers and its goodbye follows its next answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._timers import clock, timers
from grpc_heartbeat.config import Identity
from grpc_heartbeat.core.frames import Beat, Frame
from grpc_heartbeat.core.heartbeat_server import PARTING, Condition, ServerSession
from grpc_heartbeat.health import HealthBoard
from grpc_heartbeat.heartbeat import codec
from grpc_heartbeat.heartbeat.answers import answer_ping, too_many_streams
from grpc_heartbeat.heartbeat.pool import DaemonPool
from grpc_heartbeat.telemetry.beats import ServerBeats

_GOODBYE_LIMIT = 2.0
"""Seconds that the writing of a goodbye may take before the stream is cut."""

_PARTING_THREADS = 4
_UNSHARED: AbstractContextManager[Any] = nullcontext()


class HeartbeatServicer:
    """Answers heartbeats with the status on ``board``.

    Args:
        condition: Called for each beat to say how this server is now; it must be quick.
        max_streams: Streams held at a time; each holds a thread. More are refused with RESOURCE_EXHAUSTED.
    """

    def __init__(
        self,
        board: HealthBoard,
        identity: Identity,
        beats: ServerBeats,
        condition: Callable[[], Condition],
        *,
        advised_interval: float = 0.0,
        max_streams: int = 256,
    ) -> None:
        self._board = board
        self._identity = identity
        self._beats = beats
        self._advised_interval = advised_interval
        self._max_streams = max_streams
        self.condition = condition
        self._streams = 0
        self._pushed: set[_PushedStream] = set()
        self._lock = threading.Lock()
        self.stream_pool = DaemonPool(max_streams + 1, "grpc-heartbeat-streams")  # one more, to refuse
        self._parting_pool = DaemonPool(_PARTING_THREADS, "grpc-heartbeat-goodbyes")
        board.on_leave(self._leave)

    def handlers(self, unary_pool: DaemonPool) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the handlers by method name; ``Ping`` runs on ``unary_pool``."""

        def keepalive(requests: Iterator[bytes], context: grpc.ServicerContext, send: Any = None) -> Any:
            return self._iterate(requests, context) if send is None else self._push(requests, context, send)

        def ping(request: bytes, context: grpc.ServicerContext) -> bytes:
            return self._ping(request, context)

        keepalive.experimental_thread_pool = self.stream_pool  # type: ignore[attr-defined]  # read by grpcio
        keepalive.experimental_non_blocking = True  # type: ignore[attr-defined]  # read by grpcio
        ping.experimental_thread_pool = unary_pool  # type: ignore[attr-defined]  # read by grpcio
        return {
            "Keepalive": grpc.stream_stream_rpc_method_handler(keepalive),
            "Ping": grpc.unary_unary_rpc_method_handler(ping),
        }

    def _iterate(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self._admit(context)
        try:
            yield from self._answers(requests, context, self._session())
        finally:
            self._release()

    def _push(
        self, requests: Iterator[bytes], context: grpc.ServicerContext, send: Callable[[bytes | None], None]
    ) -> None:
        self._admit(context)
        session = self._session()
        stream = _PushedStream(session, context, send, self._parting_pool)
        try:
            with self._lock:
                self._pushed.add(stream)
            for answer in self._answers(requests, context, session, stream.lock):
                stream.send(answer)
            stream.finish(requests)
        finally:
            stream.close()
            with self._lock:
                self._pushed.discard(stream)
            self._release()

    def _answers(
        self,
        requests: Iterator[bytes],
        context: grpc.ServicerContext,
        session: ServerSession,
        lock: AbstractContextManager[Any] = _UNSHARED,
    ) -> Iterator[bytes]:
        patience = timers().alarm(lambda: session.wake(clock()) and context.cancel())
        try:
            for data in requests:
                started = time.time_ns()  # wall clock: spans are dated
                frame = codec.decode(data)
                condition = self.condition()
                with lock:
                    answers = session.receive(frame, clock(), condition)
                if isinstance(frame, Beat) and answers:
                    self._beats.answered(frame, session.peer, started)
                    wakeup = session.next_wakeup()
                    if wakeup is not None:
                        patience.arm(wakeup)
                for answer in answers:
                    yield codec.encode(answer)
                if session.over:
                    return
        finally:
            patience.cancel()

    def _leave(self, reason: str) -> None:
        with self._lock:
            streams = tuple(self._pushed)
        for stream in streams:
            self._parting_pool.submit(stream.part, reason)

    def _session(self) -> ServerSession:
        return ServerSession(self._identity, advised_interval=self._advised_interval)

    def _admit(self, context: grpc.ServicerContext) -> None:
        with self._lock:
            admitted = self._streams < self._max_streams
            self._streams += admitted
        if not admitted:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, too_many_streams(self._max_streams))

    def _release(self) -> None:
        with self._lock:
            self._streams -= 1

    def _ping(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return answer_ping(request, self._identity, self.condition(), self._advised_interval, self._beats)


class _PushedStream:
    """A stream on which two threads may send: the one that answers, and the one that says goodbye.

    ``lock`` guards the session. Sending is guarded by a lock of its own, because it may block.
    """

    def __init__(
        self,
        session: ServerSession,
        context: grpc.ServicerContext,
        send: Callable[[bytes | None], None],
        parting_pool: DaemonPool,
    ) -> None:
        self.lock = threading.Lock()
        self._session = session
        self._context = context
        self._send = send
        self._sending = threading.Lock()
        self._ended = False
        self._parting = timers().timeout(PARTING, lambda: parting_pool.submit(self.end))

    def send(self, message: bytes) -> None:
        """Send ``message``, unless the stream has ended."""
        with self._sending:
            if not self._ended:
                self._send(message)

    def end(self) -> None:
        """End the stream with OK, once."""
        with self._sending:
            if not self._ended:
                self._ended = True
                self._send(None)

    def finish(self, requests: Iterator[bytes]) -> None:
        """End the stream after the last answer; if that was a goodbye, after the client has ended its side or had its time."""
        if self._session.parted:
            self._parting.arm(clock())
            for _ in requests:
                pass
        self.end()

    def close(self) -> None:
        """Forget the stream: the RPC is over."""
        self._parting.cancel()

    def part(self, reason: str) -> None:
        """Say goodbye, and end the stream when the client had its time to; cut it if the client does not take the goodbye."""
        limit = timers().timeout(_GOODBYE_LIMIT, self._context.cancel)
        limit.arm(clock())
        try:
            with self.lock:
                frames: list[Frame] = self._session.drain(reason)
            if frames:  # else the answering thread is about to end it
                for frame in frames:
                    self.send(codec.encode(frame))
                self._parting.arm(clock())
        except Exception as error:
            _faults.record("heartbeat.goodbye", error)
        finally:
            limit.cancel()
