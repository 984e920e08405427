"""The server behind the conformance tests: a plain one that is slow in every way.

It knows nothing of this library. The method ``/<limit>.<Behavior>/<Kind>`` behaves as its service name says,
whatever the limit, so that a client's policy can limit each behavior differently on one channel. A call that sends the
metadata entry ``token`` can be watched: ``server.watch(token)``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from tests.peers import OPTIONS, PATIENCE

BEHAVIORS = ("Quick", "Slow", "Silent", "Hold", "Stall")
"""``Quick`` answers at once. ``Slow`` accepts at once, then takes its time with each message (``PAUSES``). ``Silent``
sends nothing, not even its initial metadata. ``Hold`` accepts, then reads and sends nothing. ``Stall`` accepts, sends one
message, then nothing. The last three last until the RPC ends."""

PAUSES = (0.05, 0.25)
"""Seconds that ``Slow`` takes after each message that it read and before each that it sends."""
MESSAGES = 4
BIG = bytes(1 << 19)
"""A message of which a few fill every flow-control window, so that the next ones wait for the peer to read."""

_WORKERS = 160

_MAKE = {
    "UnaryUnary": grpc.unary_unary_rpc_method_handler,
    "UnaryStream": grpc.unary_stream_rpc_method_handler,
    "StreamUnary": grpc.stream_unary_rpc_method_handler,
    "StreamStream": grpc.stream_stream_rpc_method_handler,
}


class Watched:
    """One RPC as the server sees it."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.over = threading.Event()


class Server(grpc.GenericRpcHandler):
    """A running ``grpc.server`` without interceptors. Its threads exist from the start, so that no test seems to leak one."""

    def __init__(self) -> None:
        self._watched: dict[str, Watched] = {}
        self._pool = ThreadPoolExecutor(_WORKERS)
        barrier = threading.Barrier(_WORKERS)
        list(self._pool.map(lambda _: barrier.wait(PATIENCE), range(_WORKERS)))
        self._server = grpc.server(self._pool, options=[*OPTIONS, ("grpc.max_receive_message_length", -1)])
        self._server.add_generic_rpc_handlers((self,))
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def watch(self, token: str) -> Watched:
        """Return what will be known of the RPC that sends ``token``."""
        return self._watched.setdefault(token, Watched())

    def service(self, handler_call_details: Any) -> Any:
        service, kind = handler_call_details.method[1:].split("/")
        behavior = getattr(self, f"_{service.rsplit('.')[-1].lower()}", None)
        if behavior is None or kind not in _MAKE:
            return None
        return _MAKE[kind](self._handler(behavior, kind))

    def _handler(self, behavior: Callable[..., Iterator[bytes]], kind: str) -> Any:
        def respond(request: Any, context: Any) -> Iterator[bytes]:
            requests = request if kind.startswith("Stream") else iter([request])
            return behavior(requests, self._begin(context), context)

        def respond_once(request: Any, context: Any) -> bytes:
            return [b"", *respond(request, context)][-1]

        return respond if kind.endswith("Stream") else respond_once

    def _begin(self, context: Any) -> Watched:
        token = dict(context.invocation_metadata()).get("token")
        watched = Watched() if token is None else self.watch(token)
        if not context.add_callback(watched.over.set):
            watched.over.set()
        watched.started.set()
        return watched

    def _quick(self, requests: Iterator[bytes], watched: Watched, context: Any) -> Iterator[bytes]:
        count = sum(1 for _ in requests)
        yield from [str(count).encode()] * MESSAGES

    def _slow(self, requests: Iterator[bytes], watched: Watched, context: Any) -> Iterator[bytes]:
        context.send_initial_metadata(())
        count = 0
        for _ in requests:
            count += 1
            watched.over.wait(PAUSES[0])
        for _ in range(MESSAGES):
            watched.over.wait(PAUSES[1])
            yield str(count).encode()

    def _silent(self, requests: Iterator[bytes], watched: Watched, context: Any) -> Iterator[bytes]:
        watched.over.wait(PATIENCE)
        yield b"too late"

    def _hold(self, requests: Iterator[bytes], watched: Watched, context: Any) -> Iterator[bytes]:
        context.send_initial_metadata(())
        return self._silent(requests, watched, context)

    def _stall(self, requests: Iterator[bytes], watched: Watched, context: Any) -> Iterator[bytes]:
        context.send_initial_metadata(())
        yield b"first"
        yield from self._silent(requests, watched, context)

    def close(self) -> None:
        self._server.stop(None).wait(PATIENCE)
        self._pool.shutdown()
