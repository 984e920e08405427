"""A unary-unary call in two batches: grpc.aio's own in every respect, but its initial metadata comes before its response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from grpc_heartbeat import _grpcio_aio

pytestmark = pytest.mark.skipif(not _grpcio_aio.usable(), reason="only grpcio's public API may be used")


class Handlers(grpc.GenericRpcHandler):
    """Answers, fails, or accepts and then waits to be let go."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, request: bytes, context: Any) -> bytes:
        if request == b"fail":
            context.set_trailing_metadata((("why", "because"),))
            await context.abort(grpc.StatusCode.NOT_FOUND, "not here")
        await context.send_initial_metadata((("here", "first"),))
        if request == b"wait":
            await self.go_on.wait()
        context.set_trailing_metadata((("at", "last"),))
        return request


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Any, Handlers]]:
    handlers = Handlers()
    server = grpc.aio.server(handlers=[handlers], options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened, handlers
    handlers.go_on.set()
    await server.stop(0)


def start(channel: Any, request: bytes, split: bool = True, **options: Any) -> Any:
    call = channel.unary_unary("/a.B/C")(request, **options)
    if split:
        assert _grpcio_aio.split(call, options.get("wait_for_ready"))
    return call


async def everything(call: Any) -> dict[str, Any]:
    """Return all that a call says of itself when it is over."""
    try:
        result: Any = await call
    except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
        result = (type(error), str(error).partition("debug_error_string")[0])
    return {
        "result": result,
        "code": await call.code(),
        "details": await call.details(),
        "initial": [entry for entry in await call.initial_metadata() if entry[0] == "here"],
        "trailing": list(await call.trailing_metadata()),
        "done": call.done(),
        "cancelled": call.cancelled(),
        "cancels": call.cancel(),
        "left": call.time_remaining() is None,
        "text": str(call).partition("debug_error_string")[0],
    }


@pytest.mark.parametrize("request_", [b"fine", b"", b"fail"])
@pytest.mark.parametrize("options", [{}, {"timeout": 30.0}, {"wait_for_ready": True}])
async def test_it_is_the_call_that_it_would_have_been(request_: bytes, options: Any) -> None:
    async with serving() as channel:
        bare = await everything(start(channel[0], request_, split=False, **options))
        assert await everything(start(channel[0], request_, **options)) == bare


async def test_a_peer_that_is_not_there_is_told_as_always() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as nowhere:
        bare = await everything(start(nowhere, b"x", split=False))
        assert bare["code"] is grpc.StatusCode.UNAVAILABLE
        assert await everything(start(nowhere, b"x")) == bare


async def test_initial_metadata_comes_before_the_response() -> None:
    async with serving() as channel:
        opened, handlers = channel
        call = start(opened, b"wait")
        assert ("here", "first") in list(await asyncio.wait_for(call.initial_metadata(), 10))
        assert not call.done()
        handlers.go_on.set()
        assert await call == b"wait"
        assert await call == b"wait"


async def test_a_cancelled_call_ends_as_always() -> None:
    async with serving() as channel:
        said = []
        for split in (False, True):
            told: list[Any] = []
            call = start(channel[0], b"wait", split)
            call.add_done_callback(told.append)
            await call.initial_metadata() if split else None
            assert call.cancel()
            said.append({**await everything(call), "initial": None})
            assert told[:1] == [call]
        assert said[0] == said[1]


async def test_a_cancelled_task_cancels_its_call_and_leaves_nothing() -> None:
    async with serving() as channel:
        call = start(channel[0], b"wait")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(call, 0.1)
        assert call.cancelled()
        assert await call.code() is grpc.StatusCode.CANCELLED


async def test_a_deadline_ends_it() -> None:
    async with serving() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await start(channel[0], b"wait", timeout=0.1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_done_callbacks_are_called_once_also_when_it_is_over() -> None:
    async with serving() as channel:
        told: list[Any] = []
        call = start(channel[0], b"fine")
        call.add_done_callback(told.append)
        await call
        call.add_done_callback(told.append)
        assert told == [call, call]


async def test_what_has_begun_or_is_intercepted_is_left_alone() -> None:
    async with serving() as channel:
        call = start(channel[0], b"fine", split=False)
        await asyncio.sleep(0)
        assert not _grpcio_aio.split(call, None)
        assert not _grpcio_aio.split(object(), None)
        assert await call == b"fine"


@pytest.mark.internal_faults
async def test_a_grpcio_that_has_changed_gets_its_one_batch_and_no_more_splits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving() as channel:
        monkeypatch.setattr(_grpcio_aio, "_failed", False)
        call = start(channel[0], b"fine")
        monkeypatch.setattr(_grpcio_aio, "_Send", ())
        assert await call == b"fine"
        assert ("here", "first") in list(await call.initial_metadata())
        assert await call.code() is grpc.StatusCode.OK
        assert not _grpcio_aio.usable()


async def test_a_channel_is_closed_while_a_call_of_it_waits() -> None:
    """An old grpcio looks for what it has to cancel among all tasks, and into the call that is stood in for."""
    async with serving() as (channel, _):
        call = start(channel, b"wait")
        await call.initial_metadata()
        await channel.close()
        assert (await everything(call))["code"] is grpc.StatusCode.CANCELLED
