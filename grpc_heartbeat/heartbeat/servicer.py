"""The Heartbeat service on a synchronous server.

Its streams take no worker from the application, and a busy application delays no answer. Mostly they hold no thread at all
(``completion_stream.py``): a thread opens each, and completion events move it from then on. Where grpcio's private names are
not what they were, each holds a thread of a pool of its own (``threaded_stream.py``). gRPC finds the pool as the attribute
``experimental_thread_pool`` of the handler *function*; bound methods share their function between instances, so each servicer
makes functions of its own. The attribute ``experimental_non_blocking`` makes gRPC hand over a function that sends, and keep a
stream whose handler has returned. A wrapper that loses both attributes makes streams iterators on the server's own workers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._grpcio_server_stream import open_stream
from grpc_heartbeat._timers import clock
from grpc_heartbeat.core.heartbeat_server import ServerSession
from grpc_heartbeat.core.stream_limits import MAX_THREADED_STREAMS
from grpc_heartbeat.heartbeat.answers import answer_ping
from grpc_heartbeat.heartbeat.completion_stream import Completions, CompletionStream
from grpc_heartbeat.heartbeat.held import HeldStreams
from grpc_heartbeat.heartbeat.pool import DaemonPool
from grpc_heartbeat.heartbeat.threaded_stream import Send, ThreadedStream

_OPENERS = 2
_SENDERS = 4
_LINGER = 1.0


class HeartbeatServicer:
    """Answers heartbeats with the status on the board of ``held``.

    Args:
        threads: Streams that hold a thread, at a time. More are refused with RESOURCE_EXHAUSTED.
    """

    def __init__(self, held: HeldStreams, threads: int = MAX_THREADED_STREAMS) -> None:
        self._held = held
        self._threads = threads
        self._threaded: set[ThreadedStream] = set()
        self._lock = threading.Lock()
        self._opening_pool = DaemonPool(_OPENERS, "grpc-heartbeat-opening", linger=_LINGER)
        self._stream_pool = DaemonPool(threads + 1, "grpc-heartbeat-streams")  # one more, to refuse
        self._sending_pool = DaemonPool(_SENDERS, "grpc-heartbeat-goodbyes")
        self._completions = Completions(held, DaemonPool(1, "grpc-heartbeat-clients"))
        held.board.on_leave(self._leave)
        held.board.on_close(self._completions.spans.flush)
        for pool in (self._opening_pool, self._stream_pool):
            held.board.on_close(pool.shutdown)

    def handlers(self, unary_pool: DaemonPool) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the handlers by method name; ``Ping`` runs on ``unary_pool``."""

        def keepalive(requests: Iterator[bytes], context: grpc.ServicerContext, send: Any = None) -> Any:
            return self._iterate(requests, context) if send is None else self._open(requests, context, send)

        def ping(request: bytes, _context: grpc.ServicerContext) -> bytes:
            held = self._held
            return answer_ping(request, held.identity, held.condition(), held.spans)

        keepalive.experimental_thread_pool = self._opening_pool  # type: ignore[attr-defined]  # read by grpcio
        keepalive.experimental_non_blocking = True  # type: ignore[attr-defined]  # read by grpcio
        ping.experimental_thread_pool = unary_pool  # type: ignore[attr-defined]  # read by grpcio
        return {
            "Keepalive": grpc.stream_stream_rpc_method_handler(keepalive),
            "Ping": grpc.unary_unary_rpc_method_handler(ping),
        }

    def _open(self, requests: Iterator[bytes], context: grpc.ServicerContext, send: Send) -> None:
        host, refusal = self._held.admit(context)
        if refusal is not None:
            _refuse(context, send, refusal)
            return
        session = self._held.session(context, clock())
        if self._held.engine == "completions":
            try:
                if self._begin(requests, session, host):
                    return
            except Exception as error:
                _faults.record("heartbeat.completions", error)
        self._stream_pool.submit(self._push, requests, context, send, session, host)

    def _begin(self, requests: Iterator[bytes], session: ServerSession, host: str) -> bool:
        wire = open_stream(requests)
        return wire is not None and CompletionStream(self._completions, session, host, wire).begin()

    def _push(
        self, requests: Iterator[bytes], context: grpc.ServicerContext, send: Send, session: ServerSession, host: str
    ) -> None:
        stream = ThreadedStream(self._held, session, context, send, self._sending_pool)
        try:
            if not self._add(stream):
                _refuse(context, send, self._too_many())
                return
            for answer in stream.answers(requests):
                stream.send(answer)
            stream.finish(requests)
        except Exception as error:
            if context.is_active():
                _faults.record("heartbeat.threads", error)
                context.cancel()
        finally:
            self._remove(stream, host)

    def _iterate(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        host, refusal = self._held.admit(context)
        if refusal is not None:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, refusal)
        session = self._held.session(context, clock())
        stream = ThreadedStream(self._held, session, context, None, self._sending_pool)
        try:
            if not self._add(stream):
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, self._too_many())
            yield from stream.answers(requests)
            if session.refusal is not None:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, session.refusal)
        finally:
            self._remove(stream, host)

    def _add(self, stream: ThreadedStream) -> bool:
        with self._lock:
            room = len(self._threaded) < self._threads
            if room:
                self._threaded.add(stream)
        if not room:
            self._held.refuse()
        return room

    def _remove(self, stream: ThreadedStream, host: str) -> None:
        stream.close()
        with self._lock:
            self._threaded.discard(stream)
        self._held.leave(host, stream.session)

    def _too_many(self) -> str:
        return (
            f"this server holds {self._threads} heartbeat streams by a thread each, which is its limit; raise max_streams of "
            "add_to_server"
        )

    def _leave(self, reason: str) -> None:
        self._completions.leave(reason)
        with self._lock:
            streams = tuple(self._threaded)
        for stream in streams:
            if stream.pushed:
                self._sending_pool.submit(stream.part, reason)


def _refuse(context: grpc.ServicerContext, send: Send, details: str) -> None:
    context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
    context.set_details(details)
    send(None)
