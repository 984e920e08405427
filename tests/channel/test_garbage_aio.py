"""What a failed asyncio call leaves behind: nothing, when its error has been dealt with, without a garbage collection.

An error whose traceback has a frame that still knows the error keeps both, with the call and its request, until the collector
comes; a service whose peer is down would leave that behind for every call.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts, _grpcio_aio
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.scope import Reason, Scope
from tests.channel.servers import FAIL, HOLD, Server
from tests.peers import PATIENCE, path

LIMIT = 0.1


async def _respond(channel: Any, request: bytes) -> None:
    await channel.unary_unary(path("UnaryUnary"))(request)


async def _iterate(channel: Any, request: bytes) -> None:
    async for _ in channel.unary_stream(path("UnaryStream"))(request):
        pass


async def _read(channel: Any, request: bytes) -> None:
    await channel.unary_stream(path("UnaryStream"))(request).read()


async def _collect(channel: Any, request: bytes) -> None:
    await channel.stream_unary(path("StreamUnary"))(iter([request]))


async def _write(channel: Any, request: bytes) -> None:
    call = channel.stream_unary(path("StreamUnary"))()
    await call.write(request)
    await call.done_writing()
    with suppress(grpc.aio.AioRpcError):
        await call
    await call.write(request)


WAYS = {"respond": _respond, "iterate": _iterate, "read": _read, "collect": _collect, "write": _write}


@pytest.fixture
def no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def failing(way: Callable[[Any, bytes], Awaitable[None]], channel: Any, request: bytes) -> weakref.ref[Exception]:
    try:
        await way(channel, request)
    except grpc.aio.AioRpcError as error:
        return weakref.ref(error)
    raise AssertionError("it did not fail")


async def is_gone(error: weakref.ref[Exception]) -> bool:
    for _ in range(100):
        if error() is None:
            return True
        await asyncio.sleep(0)  # callbacks of the call may be due
    return False


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("timeouts", [Timeouts(total=PATIENCE), Timeouts(header=PATIENCE, idle=PATIENCE)])
async def test_the_error_of_the_server_goes_away(server: Server, way: str, timeouts: Timeouts) -> None:
    async with grpc_heartbeat.aio.insecure_channel(server.target, timeouts=timeouts) as channel:
        assert await is_gone(await failing(WAYS[way], channel, FAIL))


@pytest.mark.usefixtures("no_collections")
async def test_it_goes_away_by_public_api_too(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_grpcio_aio, "usable", lambda: False)
    async with grpc_heartbeat.aio.insecure_channel(server.target, timeouts=Timeouts(header=PATIENCE)) as channel:
        assert await is_gone(await failing(_respond, channel, FAIL))


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize("way", ["respond", "collect"])
async def test_the_error_of_a_limit_goes_away(server: Server, way: str) -> None:
    async with grpc_heartbeat.aio.insecure_channel(server.target, timeouts=Timeouts(total=LIMIT)) as channel:
        assert await is_gone(await failing(WAYS[way], channel, HOLD))


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize("way", ["respond", "iterate", "read", "collect"])
async def test_the_error_of_a_scope_goes_away(server: Server, way: str) -> None:
    scope = Scope(None, "inherited:/a/b")
    token = current_scope.set(scope)
    asyncio.get_running_loop().call_later(LIMIT, scope.cancel, Reason.CLIENT_CANCELLED)
    async with grpc_heartbeat.aio.insecure_channel(server.target) as channel:
        assert await is_gone(await failing(WAYS[way], channel, HOLD))
    current_scope.reset(token)
