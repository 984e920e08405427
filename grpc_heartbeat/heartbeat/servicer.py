"""The Heartbeat service on a synchronous server.

Streams run on a pool of their own, so that heartbeats take no worker from the application and a busy application delays no
answer. gRPC finds the pool as the attribute ``experimental_thread_pool`` of the handler *function*; bound methods share their
function between instances, so each servicer makes functions of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from grpc_heartbeat._timers import clock, timers
from grpc_heartbeat.config import Identity
from grpc_heartbeat.core.frames import Beat, Load
from grpc_heartbeat.core.heartbeat_server import Condition, ServerSession
from grpc_heartbeat.health import HealthBoard
from grpc_heartbeat.heartbeat import codec
from grpc_heartbeat.heartbeat.answers import answer_ping, too_many_streams
from grpc_heartbeat.heartbeat.pool import DaemonPool
from grpc_heartbeat.telemetry.beats import ServerBeats


class HeartbeatServicer:
    """Answers heartbeats with the status on ``board``.

    Args:
        load: Called for each beat to say how busy the process is; it must be quick.
        max_streams: Streams held at a time; each holds a thread. More are refused with RESOURCE_EXHAUSTED.
    """

    def __init__(
        self,
        board: HealthBoard,
        identity: Identity,
        beats: ServerBeats,
        *,
        advised_interval: float = 0.0,
        max_streams: int = 256,
        load: Callable[[], Load] | None = None,
    ) -> None:
        self._board = board
        self._identity = identity
        self._beats = beats
        self._advised_interval = advised_interval
        self._max_streams = max_streams
        self._load = load
        self._streams = 0
        self._lock = threading.Lock()
        self.stream_pool = DaemonPool(max_streams + 1, "grpc-heartbeat-streams")  # one more, to refuse

    def handlers(self, unary_pool: DaemonPool) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the handlers by method name; ``Ping`` runs on ``unary_pool``."""

        def keepalive(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            return self._keepalive(requests, context)

        def ping(request: bytes, context: grpc.ServicerContext) -> bytes:
            return self._ping(request, context)

        keepalive.experimental_thread_pool = self.stream_pool  # type: ignore[attr-defined]  # read by grpcio
        ping.experimental_thread_pool = unary_pool  # type: ignore[attr-defined]  # read by grpcio
        return {
            "Keepalive": grpc.stream_stream_rpc_method_handler(keepalive),
            "Ping": grpc.unary_unary_rpc_method_handler(ping),
        }

    def condition(self) -> Condition:
        """Return how this server is now."""
        load = None if self._load is None else self._load()
        return Condition(self._board.status(), load, self._board.draining)

    def _keepalive(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        if not self._admit():
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, too_many_streams(self._max_streams))
        try:
            yield from self._answers(requests, context)
        finally:
            with self._lock:
                self._streams -= 1

    def _answers(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        session = ServerSession(self._identity, advised_interval=self._advised_interval)
        patience = timers().alarm(lambda: session.wake(clock()) and context.cancel())
        try:
            for data in requests:
                started = time.time_ns()
                frame = codec.decode(data)
                answers = session.receive(frame, clock(), self.condition())
                if isinstance(frame, Beat):
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

    def _admit(self) -> bool:
        with self._lock:
            admitted = self._streams < self._max_streams
            self._streams += admitted
            return admitted

    def _ping(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return answer_ping(request, self._identity, self.condition(), self._advised_interval, self._beats)
