"""Servers of every handler style with in-band keepalive, and what their handlers do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio

import grpc_heartbeat
from tests.peers import PATIENCE, AioServer, LoopThread, SyncServer

EVERY = 0.05
"""The interval in these tests: the shortest there is."""

INBAND = grpc_heartbeat.InbandPolicy(EVERY)

STYLES = ("threads", "threads by public API", "generators", "coroutines", "functions in a pool")
"""Sync handlers on a sync server, with grpcio's private names and without; then those that an asyncio server takes."""


class Server:
    """Echoes streams, sends two responses with a pause between, collects requests.

    Attributes:
        resume: Set by the test when the pause of ``UnaryStream`` is to end.
        requests: Every request that a handler saw.
        contexts: The handlers' contexts.
    """

    def __init__(self, style: str, loop: LoopThread, **kwargs: Any) -> None:
        self._loop = loop
        self.resume = threading.Event()
        self.requests: list[Any] = []
        self.contexts: list[Any] = []
        behaviors = {
            "threads": self._functions,
            "threads by public API": self._functions,
            "generators": self._generators,
            "coroutines": self._coroutines,
            "functions in a pool": self._functions,
        }[style]()
        kwargs.setdefault("inband", INBAND)
        self._server: SyncServer | AioServer
        if style.startswith("threads"):
            self._server = SyncServer(behaviors, grpc_heartbeat.server_interceptors(**kwargs))
        else:
            self._server = AioServer(loop, behaviors, grpc_heartbeat.aio.server_interceptors(**kwargs))
        self.target = self._server.target

    def close(self) -> None:
        self.resume.set()
        self._server.close()

    def _saw(self, request: Any, context: Any) -> None:
        self.requests.append(request)
        self.contexts.append(context)

    def _functions(self) -> dict[str, Callable[..., Any]]:
        def stream_stream(requests: Any, context: Any) -> Iterator[bytes]:
            for request in requests:
                self._saw(request, context)
                yield b"<" + request + b">"

        def unary_stream(request: bytes, context: Any) -> Iterator[bytes]:
            self._saw(request, context)
            yield b"first"
            self.resume.wait(PATIENCE)
            yield b"second"

        def stream_unary(requests: Any, context: Any) -> bytes:
            for request in requests:
                self._saw(request, context)
            return b",".join(self.requests)

        return {"StreamStream": stream_stream, "UnaryStream": unary_stream, "StreamUnary": stream_unary}

    async def _pause(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.resume.wait, PATIENCE)

    def _generators(self) -> dict[str, Callable[..., Any]]:
        async def stream_stream(requests: Any, context: Any) -> AsyncIterator[bytes]:
            async for request in requests:
                self._saw(request, context)
                yield b"<" + request + b">"

        async def unary_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
            self._saw(request, context)
            yield b"first"
            await self._pause()
            yield b"second"

        async def stream_unary(requests: Any, context: Any) -> bytes:
            async for request in requests:
                self._saw(request, context)
            return b",".join(self.requests)

        return {"StreamStream": stream_stream, "UnaryStream": unary_stream, "StreamUnary": stream_unary}

    def _coroutines(self) -> dict[str, Callable[..., Any]]:
        async def stream_stream(_: Any, context: Any) -> None:
            while (request := await context.read()) is not grpc.aio.EOF:
                self._saw(request, context)
                await context.write(b"<" + request + b">")

        async def unary_stream(request: bytes, context: Any) -> None:
            self._saw(request, context)
            await context.write(b"first")
            await self._pause()
            await context.write(b"second")

        async def stream_unary(_: Any, context: Any) -> bytes:
            while (request := await context.read()) is not grpc.aio.EOF:
                self._saw(request, context)
            return b",".join(self.requests)

        return {"StreamStream": stream_stream, "UnaryStream": unary_stream, "StreamUnary": stream_unary}
