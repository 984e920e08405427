"""Calls through proxies that let nothing idle for long: how each ends, over both stacks, with and without in-band keepalive.

All of them run at the same time, because each takes ten seconds of doing nothing.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

import grpc_heartbeat
from grpc_heartbeat.interceptors.admission import ServerPolicy
from tests.peers import OPTIONS, LoopThread
from tests.proxies.proxies import running

LIFE = 10.0
"""Seconds for which a stream is to be idle and live: five times as long as the proxies allow."""

STREAMS = ("stream_stream", "unary_stream", "stream_unary")
STACKS = ("sync", "aio")
INBAND = grpc_heartbeat.InbandPolicy(0.5)
TIMEOUTS = grpc_heartbeat.Timeouts(connect=20.0)

# A server that accepts early hides that it is slow; this method shows what a proxy says of one that does not.
POLICY = ServerPolicy(services={"proxied.Slow": {"accept_after": None}})


@dataclass(frozen=True)
class End:
    """How a call ended."""

    status: str
    details: str
    layer: str | None
    elapsed: float
    messages: tuple[bytes, ...] = ()


Ends = dict[tuple[str, str, bool], End]
"""By stack, what was called, and whether it was kept alive from inside."""

File = Callable[[str, bool, End], None]
"""Files the end of what was called, and was kept alive or not."""


def _end_of(error: Any, elapsed: float) -> End:
    facts = getattr(error, "timeout", None)
    return End(error.code().name, error.details(), None if facts is None else facts.layer, elapsed)


class SyncSide:
    """A sync server, and sync clients of it behind proxies."""

    stack = "sync"

    def __init__(self) -> None:
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(100)
        interceptors: list[Any] = [*grpc_heartbeat.server_interceptors(policy=POLICY, inband=INBAND)]
        self._server = grpc.server(self._pool, interceptors=interceptors, options=OPTIONS)
        slow: Any = grpc.unary_unary_rpc_method_handler(self._slow)
        streams: dict[str, Any] = {
            "stream_stream": grpc.stream_stream_rpc_method_handler(lambda requests, _: iter(requests)),
            "unary_stream": grpc.unary_stream_rpc_method_handler(self._two),
            "stream_unary": grpc.stream_unary_rpc_method_handler(lambda requests, _: b",".join(requests)),
        }
        for service, methods in (("Streams", streams), ("Slow", {"Call": slow}), ("Other", {"Call": slow})):
            handler = grpc.method_handlers_generic_handler(f"proxied.{service}", methods)
            self._server.add_generic_rpc_handlers((handler,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _two(self, _: bytes, context: Any) -> Iterator[bytes]:
        yield b"first"
        self._over.wait(2 * LIFE)
        yield b"second"

    def _slow(self, request: bytes, _: Any) -> bytes:
        self._over.wait(2 * LIFE)
        return request

    def run(self, plain: str, alive: str, file: File) -> None:
        """Make all calls, those to be kept alive to ``alive``; wait for their ends."""
        timer = threading.Timer(LIFE, self._over.set)
        timer.start()
        self._calls(plain, alive, file)
        timer.join()

    def close(self) -> None:
        self._over.set()
        self._server.stop(None).wait()
        self._pool.shutdown()

    def _calls(self, plain_target: str, alive_target: str, file: File) -> None:
        calls: list[tuple[str, bool, Callable[[Any], Any]]] = [
            ("slow", False, lambda channel: [channel.unary_unary("/proxied.Slow/Call")(b"")]),
            ("timed", False, lambda channel: [channel.unary_unary("/proxied.Other/Call")(b"", timeout=2 * LIFE)]),
        ]
        for kept in (True, False):
            calls += [
                (
                    "stream_stream",
                    kept,
                    lambda channel: channel.stream_stream(_name("stream_stream"))(self._two(b"", None)),
                ),
                ("unary_stream", kept, lambda channel: channel.unary_stream(_name("unary_stream"))(b"")),
                (
                    "stream_unary",
                    kept,
                    lambda channel: [channel.stream_unary(_name("stream_unary"))(self._two(b"", None))],
                ),
            ]

        with (
            grpc_heartbeat.insecure_channel(plain_target, timeouts=TIMEOUTS) as plain,
            grpc_heartbeat.insecure_channel(alive_target, timeouts=TIMEOUTS, inband=INBAND) as alive,
        ):

            def one(what: str, kept: bool, call: Callable[[Any], Any]) -> None:
                started = time.monotonic()
                try:
                    messages = tuple(call(alive if kept else plain))
                    end = End("OK", "", None, time.monotonic() - started, messages)
                except grpc.RpcError as error:
                    end = _end_of(error, time.monotonic() - started)
                file(what, kept, end)

            threads = [threading.Thread(target=one, args=call) for call in calls]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


class AioSide:
    """The same on the asyncio stack."""

    stack = "aio"

    def __init__(self) -> None:
        self._loop = LoopThread()
        self._server, self.port = self._loop.run(self._start())

    async def _start(self) -> tuple[grpc.aio.Server, int]:
        self._over = asyncio.Event()
        interceptors = grpc_heartbeat.aio.server_interceptors(policy=POLICY, inband=INBAND)
        server = grpc.aio.server(interceptors=interceptors, options=OPTIONS)
        slow: Any = grpc.unary_unary_rpc_method_handler(self._slow)
        streams: dict[str, Any] = {
            "stream_stream": grpc.stream_stream_rpc_method_handler(self._echo),
            "unary_stream": grpc.unary_stream_rpc_method_handler(self._two),
            "stream_unary": grpc.stream_unary_rpc_method_handler(self._join),
        }
        for service, methods in (("Streams", streams), ("Slow", {"Call": slow}), ("Other", {"Call": slow})):
            handler = grpc.method_handlers_generic_handler(f"proxied.{service}", methods)
            server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    async def _echo(self, _: Any, context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(request)

    async def _two(self, _: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        await self._over.wait()
        yield b"second"

    async def _join(self, requests: Any, _: Any) -> bytes:
        return b",".join([request async for request in requests])

    async def _slow(self, request: bytes, _: Any) -> bytes:
        await self._over.wait()
        return request

    def run(self, plain: str, alive: str, file: File) -> None:
        """Make all calls, those to be kept alive to ``alive``; wait for their ends."""
        asyncio.run_coroutine_threadsafe(self._run(plain, alive, file), self._loop.loop).result(4 * LIFE)

    async def _run(self, plain: str, alive: str, file: File) -> None:
        asyncio.get_running_loop().call_later(LIFE, self._over.set)
        await self._calls(plain, alive, file)

    def close(self) -> None:
        self._loop.run(self._server.stop(None))
        self._loop.close()

    async def _calls(self, plain_target: str, alive_target: str, file: File) -> None:
        async with (
            grpc_heartbeat.aio.insecure_channel(plain_target, timeouts=TIMEOUTS) as plain,
            grpc_heartbeat.aio.insecure_channel(alive_target, timeouts=TIMEOUTS, inband=INBAND) as alive,
        ):

            async def one(what: str, kept: bool, call: Callable[[Any], Any]) -> None:
                started = time.monotonic()
                try:
                    messages = tuple(await call(alive if kept else plain))
                    end = End("OK", "", None, time.monotonic() - started, messages)
                except grpc.aio.AioRpcError as error:
                    end = _end_of(error, time.monotonic() - started)
                file(what, kept, end)

            async def stream_stream(channel: Any) -> list[bytes]:
                return await _all(channel.stream_stream(_name("stream_stream"))(self._two(b"", None)))

            async def unary_stream(channel: Any) -> list[bytes]:
                return await _all(channel.unary_stream(_name("unary_stream"))(b""))

            async def stream_unary(channel: Any) -> list[bytes]:
                return [await channel.stream_unary(_name("stream_unary"))(self._two(b"", None))]

            async def slow(channel: Any) -> list[bytes]:
                return [await channel.unary_unary("/proxied.Slow/Call")(b"")]

            async def timed(channel: Any) -> list[bytes]:
                return [await channel.unary_unary("/proxied.Other/Call")(b"", timeout=2 * LIFE)]

            calls = [one("slow", False, slow), one("timed", False, timed)]
            for kept in (True, False):
                calls += [
                    one("stream_stream", kept, stream_stream),
                    one("unary_stream", kept, unary_stream),
                    one("stream_unary", kept, stream_unary),
                ]
            await asyncio.gather(*calls)


def _name(kind: str) -> str:
    return f"/proxied.Streams/{kind}"


async def _all(call: Any) -> list[bytes]:
    return [message async for message in call]


def through(name: str, folder: Path) -> Ends:
    """Return how calls through the proxy ``name`` ended. Skips the test when it is not there.

    Calls that are kept alive go through a proxy of their own: some count what moves on their one connection to the server.
    """
    ends: Ends = {}
    with ExitStack() as stack:
        work: list[Callable[[], None]] = []
        for make in (SyncSide, AioSide):
            side = make()
            stack.callback(side.close)
            targets: list[str] = []
            for use in ("plain", "alive"):
                own = folder / f"{side.stack}-{use}"
                own.mkdir()
                targets.append(stack.enter_context(running(name, side.port, own)).target)
            work.append(partial(side.run, targets[0], targets[1], partial(_file, ends, side.stack)))
        threads = [threading.Thread(target=each) for each in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return ends


def _file(ends: Ends, stack: str, what: str, kept: bool, end: End) -> None:
    ends[stack, what, kept] = end
