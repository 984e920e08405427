"""Beats in streams of every kind, between both stacks and all handler styles: seen by nobody, and there."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc.aio
import pytest

import grpc_heartbeat
from tests.inband.ends import INBAND, STYLES, Server
from tests.peers import PATIENCE, LoopThread, path, wait_until

Serve = Callable[..., Server]
every_style = pytest.mark.parametrize("style", STYLES)


class Reader:
    """Reads a response stream in a thread, because beats are heard by those who read."""

    def __init__(self, call: Any) -> None:
        self.messages: list[Any] = []
        self._thread = threading.Thread(target=self._read, args=(call,))
        self._thread.start()

    def _read(self, call: Any) -> None:
        self.messages.extend(call)

    def all(self) -> list[Any]:
        self._thread.join(PATIENCE)
        return self.messages


@every_style
def test_sync_beats_go_both_ways_while_both_are_quiet(serve: Serve, style: str) -> None:
    server = serve(style)
    with grpc_heartbeat.insecure_channel(server.target, inband=INBAND) as channel:
        requests: queue.Queue[bytes | None] = queue.Queue()
        call: Any = channel.stream_stream(path("StreamStream"))(iter(requests.get, None))
        reader = Reader(call)
        requests.put(b"a")
        wait_until(lambda: call.inband.heard >= 3 and call.inband.sent >= 3 and call.inband.rtt is not None)
        requests.put(b"b")
        requests.put(None)
        assert reader.all() == [b"<a>", b"<b>"]
        assert server.requests == [b"a", b"b"]
        assert call.code() is grpc.StatusCode.OK
        assert call.inband.agreed
        assert 0 < call.inband.rtt < PATIENCE


@every_style
def test_sync_the_server_beats_where_the_client_has_nothing_to_send(serve: Serve, style: str) -> None:
    server = serve(style)
    with grpc_heartbeat.insecure_channel(server.target, inband=INBAND) as channel:
        call: Any = channel.unary_stream(path("UnaryStream"))(b"go")
        reader = Reader(call)
        wait_until(lambda: call.inband.heard >= 10)  # more than may stay unanswered: here nobody can answer
        server.resume.set()
        assert reader.all() == [b"first", b"second"]
        assert call.inband.sent == 0
        assert call.inband.rtt is None


@every_style
@pytest.mark.parametrize("way", ["future", "with_call", "call"])
def test_sync_the_client_beats_where_the_server_has_nothing_to_send(serve: Serve, style: str, way: str) -> None:
    server = serve(style)
    before = threading.active_count()
    with grpc_heartbeat.insecure_channel(server.target, inband=INBAND) as channel:
        method = channel.stream_unary(path("StreamUnary"))
        calls: list[Any] = []

        def requests() -> Iterator[bytes]:
            yield b"a"
            wait_until(lambda: way != "future" or (calls and calls[0].inband.sent >= 10))
            yield b"b"

        if way == "future":
            calls.append(method.future(requests()))
            assert calls[0].result(PATIENCE) == b"a,b"
            assert calls[0].inband.sent >= 10
        else:
            assert (method(requests()) if way == "call" else method.with_call(requests())[0]) == b"a,b"
    assert server.requests == [b"a", b"b"]
    wait_until(lambda: threading.active_count() <= before + 2)


async def quiet_async(call: Any, beats: int = 3) -> None:
    """Return when so many beats were heard."""
    give_up = asyncio.get_running_loop().time() + PATIENCE
    while call.inband.heard < beats or call.inband.sent < beats:
        assert asyncio.get_running_loop().time() < give_up, call.inband
        await asyncio.sleep(0.01)  # sleep: nothing tells of a beat, because nobody is to see any


@every_style
@pytest.mark.parametrize("giving", ["writes", "async iterator", "iterator"])
@pytest.mark.parametrize("intercepted", [False, True])
def test_aio_beats_go_both_ways(serve: Serve, loop: LoopThread, style: str, giving: str, intercepted: bool) -> None:
    server = serve(style)
    seen: list[Any] = []

    class Sees(grpc.aio.StreamStreamClientInterceptor):  # type: ignore[misc,type-arg,unused-ignore]  # untyped base
        async def intercept_stream_stream(
            self, continuation: Any, client_call_details: Any, request_iterator: Any
        ) -> Any:
            call = await continuation(client_call_details, request_iterator)
            return _watched(call, seen)

    async def scenario() -> list[Any]:
        interceptors = [Sees()] if intercepted else None
        async with grpc_heartbeat.aio.insecure_channel(
            server.target, inband=INBAND, interceptors=interceptors
        ) as channel:
            method = channel.stream_stream(path("StreamStream"))
            go = asyncio.Event()

            async def requests() -> AsyncIterator[bytes]:
                yield b"a"
                await go.wait()
                yield b"b"

            if giving == "iterator":
                call: Any = method(iter([b"a", b"b"]))
                return [message async for message in call]
            call = method(requests()) if giving == "async iterator" else method()
            if giving == "writes":
                await call.write(b"a")
            got: list[Any] = []
            reading = asyncio.ensure_future(_collect(call, got))
            if intercepted:
                await _beats(server)
            else:
                await quiet_async(call)
            go.set()
            if giving == "writes":
                await call.write(b"b")
                await call.done_writing()
            await reading
            assert await call.code() is grpc.StatusCode.OK
            return got

    assert loop.run(scenario()) == [b"<a>", b"<b>"]
    assert server.requests == [b"a", b"b"]
    assert all(isinstance(message, bytes) for message in seen)
    assert bool(seen) == intercepted


async def _beats(server: Server) -> None:
    await asyncio.sleep(0.3)  # sleep: an intercepted call does not show its status, and beats go six times meanwhile


async def _watched(call: Any, seen: list[Any]) -> AsyncIterator[Any]:
    async for message in call:
        seen.append(message)
        yield message


async def _collect(call: Any, got: list[Any]) -> None:
    got.extend([message async for message in call])


@every_style
def test_aio_the_server_beats_where_the_client_has_nothing_to_send(serve: Serve, loop: LoopThread, style: str) -> None:
    server = serve(style)

    async def scenario() -> list[Any]:
        async with grpc_heartbeat.aio.insecure_channel(server.target, inband=INBAND) as channel:
            call: Any = channel.unary_stream(path("UnaryStream"))(b"go")
            got = [await call.read()]
            reading = asyncio.ensure_future(call.read())
            give_up = asyncio.get_running_loop().time() + PATIENCE
            while call.inband.heard < 10:
                assert asyncio.get_running_loop().time() < give_up
                await asyncio.sleep(0.01)  # sleep: nothing tells of a beat
            server.resume.set()
            got.append(await reading)
            assert await call.read() is grpc.aio.EOF
            return got

    assert loop.run(scenario()) == [b"first", b"second"]


@every_style
@pytest.mark.parametrize("writes", [True, False])
def test_aio_the_client_beats_where_the_server_has_nothing_to_send(
    serve: Serve, loop: LoopThread, style: str, writes: bool
) -> None:
    server = serve(style)

    async def scenario() -> Any:
        async with grpc_heartbeat.aio.insecure_channel(server.target, inband=INBAND) as channel:
            method = channel.stream_unary(path("StreamUnary"))
            calls: list[Any] = []

            async def quiet() -> None:
                give_up = asyncio.get_running_loop().time() + PATIENCE
                while calls[0].inband.sent < 10:
                    assert asyncio.get_running_loop().time() < give_up
                    await asyncio.sleep(0.01)  # sleep: nothing tells of a beat

            async def requests() -> AsyncIterator[bytes]:
                yield b"a"
                await quiet()
                yield b"b"

            if not writes:
                calls.append(method(requests()))
                return await calls[0]
            calls.append(method())
            call = calls[0]
            await call.write(b"a")
            await quiet()
            await call.write(b"b")
            await call.done_writing()
            return await call

    assert loop.run(scenario()) == b"a,b"
    assert server.requests == [b"a", b"b"]
