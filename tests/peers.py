"""Real peers for tests: servers and clients of both stacks on loopback, driven from synchronous test functions.

Messages are raw bytes. A server is a dictionary of behaviors by method name; asyncio servers run on a ``LoopThread``.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
import grpc.aio

SERVICE = "test.Chain"
OPTIONS = [("grpc.so_reuseport", 0)]
PATIENCE = 10.0
"""Seconds after which a test gives up waiting for something that should take milliseconds."""

_T = TypeVar("_T")

_MAKE: dict[str, Callable[[Any], Any]] = {
    "UnaryUnary": grpc.unary_unary_rpc_method_handler,
    "UnaryStream": grpc.unary_stream_rpc_method_handler,
    "StreamUnary": grpc.stream_unary_rpc_method_handler,
    "StreamStream": grpc.stream_stream_rpc_method_handler,
}
KINDS = tuple(_MAKE)


def path(kind: str) -> str:
    """Return the full name of the method of ``kind``."""
    return f"/{SERVICE}/{kind}"


def handlers(behaviors: Mapping[str, Any]) -> grpc.GenericRpcHandler:
    """Return a generic handler that serves ``behaviors`` (by kind)."""
    methods = {kind: _MAKE[kind](behavior) for kind, behavior in behaviors.items()}
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Return as soon as ``condition`` holds; fail after ``seconds``."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"still waiting for {condition} after {seconds} s"
        threading.Event().wait(0.002)


class LoopThread:
    """An asyncio loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        # A daemon, so that a failed test cannot hang the run.
        self._thread = threading.Thread(target=self._run, name="test-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run ``coroutine`` on the loop and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def close(self) -> None:
        self.run(self._finish())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()

    async def _finish(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await self.loop.shutdown_asyncgens()
        await self.loop.shutdown_default_executor()


class SyncServer:
    """A running ``grpc.server``."""

    def __init__(
        self,
        behaviors: Mapping[str, Any],
        interceptors: Sequence[Any] = (),
        workers: int = 16,
        address: str = "127.0.0.1:0",
    ) -> None:
        self._pool = ThreadPoolExecutor(workers)
        self.server = grpc.server(self._pool, interceptors=list(interceptors), options=OPTIONS)
        self.server.add_generic_rpc_handlers((handlers(behaviors),))
        self.target = f"127.0.0.1:{self.server.add_insecure_port(address)}"
        self.server.start()

    def close(self) -> None:
        self.server.stop(None).wait(PATIENCE)
        self._pool.shutdown()


class AioServer:
    """A running ``grpc.aio.server`` on ``loop``; plain functions run in a pool of its own."""

    def __init__(self, loop: LoopThread, behaviors: Mapping[str, Any], interceptors: Sequence[Any] = ()) -> None:
        self._loop = loop
        self._pool = ThreadPoolExecutor(16)
        self.server, self.target = loop.run(self._start(behaviors, interceptors))

    async def _start(self, behaviors: Mapping[str, Any], interceptors: Sequence[Any]) -> tuple[grpc.aio.Server, str]:
        server = grpc.aio.server(self._pool, interceptors=list(interceptors), options=OPTIONS)
        server.add_generic_rpc_handlers((handlers(behaviors),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, f"127.0.0.1:{port}"

    def close(self) -> None:
        self._loop.run(self.server.stop(None))
        self._pool.shutdown()
