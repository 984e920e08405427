"""A cancel of ours ends a call of grpc.aio as its own does, but lets gRPC's batch come to its end, which frees it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import _grpcio_aio
from tests import leaks
from tests.conformance.peers import Server
from tests.peers import PATIENCE

needs_private_names = pytest.mark.skipif(not _grpcio_aio.usable(), reason="only grpcio's public API may be used")

UNARY = "/any.Hold/UnaryUnary"
Cancel = Callable[[Any], bool]
both = pytest.mark.parametrize(
    "cancel", [_grpcio_aio.cancel, lambda call: bool(call.cancel())], ids=["ours", "grpcio's"]
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


async def _read(call: Any) -> Any:
    return await call.read()


async def _await(call: Any) -> Any:
    return await call


async def _end(call: Any, wait: Callable[[Any], Awaitable[Any]]) -> dict[str, Any]:
    """Return all that a cancelled call says of its end."""
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(wait(call), PATIENCE)
    return {
        "code": await call.code(),
        "details": await call.details(),
        "done": call.done(),
        "cancelled": call.cancelled(),
        "again": call.cancel(),
    }


@both
@pytest.mark.parametrize("rounds", [0, 1, 3, None], ids=["at once", "one round", "three rounds", "under way"])
@pytest.mark.parametrize("kind", ["unary", "split", "stream"])
async def test_a_cancelled_call_says_the_same(server: Server, cancel: Cancel, rounds: int | None, kind: str) -> None:
    told: list[Any] = []
    token = f"{kind} {rounds} {cancel}"
    watched = server.watch(token)
    opened: Any = grpc.aio.insecure_channel(server.target)
    async with opened as channel:
        method = channel.unary_stream("/any.Hold/UnaryStream") if kind == "stream" else channel.unary_unary(UNARY)
        call = method(b"x", metadata=(("token", token),))
        if kind == "split":
            _grpcio_aio.split(call, None)
        call.add_done_callback(told.append)
        if rounds is None:
            assert await asyncio.to_thread(watched.started.wait, PATIENCE)
        for _ in range(rounds or 0):
            await asyncio.sleep(0)
        assert cancel(call)
        assert await _end(call, _read if kind == "stream" else _await) == {
            "code": grpc.StatusCode.CANCELLED,
            "details": "Locally cancelled by application!",
            "done": True,
            "cancelled": True,
            "again": False,
        }
        assert not cancel(call)
        await leaks.end_of_tasks()
        assert told == [call]
        assert await call.details() == "Locally cancelled by application!"


@needs_private_names
async def test_the_batches_that_are_under_way_come_to_their_end(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a batch has allocated is freed by who waits for it to the end; a soak test with a bound for memory shows it, too."""
    ends: list[str] = []
    execute = _grpcio_aio._execute_batch

    async def followed(*args: Any) -> Any:
        try:
            await execute(*args)
        except BaseException as error:
            ends.append(type(error).__name__)
            raise
        ends.append("done")

    monkeypatch.setattr(_grpcio_aio, "_execute_batch", followed)
    opened: Any = grpc.aio.insecure_channel(server.target)
    async with opened as channel:
        token = "under way"
        watched = server.watch(token)
        call: Any = channel.unary_unary(UNARY)(b"x", metadata=(("token", token),))
        assert _grpcio_aio.split(call, None)
        await asyncio.wait_for(call.initial_metadata(), PATIENCE)
        assert _grpcio_aio.cancel(call)
        await leaks.end_of_tasks()
        assert ends == ["done", "done"]
        assert await asyncio.to_thread(watched.over.wait, PATIENCE)


async def test_other_kinds_are_cancelled_by_their_own_method() -> None:
    class Call:
        asked = 0

        def cancel(self) -> bool:
            self.asked += 1
            return True

    call = Call()
    assert _grpcio_aio.cancel(call)
    assert call.asked == 1


class _CancelsWhenMade(grpc.aio.UnaryUnaryClientInterceptor):
    """Cancels the task that waits for the call in the round of the loop in which the call was made."""

    waiting: asyncio.Task[Any]

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        call = await continuation(client_call_details, request)
        asyncio.get_running_loop().call_soon(self.waiting.cancel)
        return call


async def test_a_task_that_is_cancelled_when_interceptors_have_made_its_call_cancels_that(server: Server) -> None:
    """By itself, grpcio leaves that call to its deadline, and so it does on a channel that was given interceptors."""
    interceptor, token = _CancelsWhenMade(), "just made"
    watched = server.watch(token)
    inner = grpc.aio.insecure_channel(server.target, interceptors=[interceptor])
    async with grpc_heartbeat.aio.wrap_channel(inner) as channel:

        async def call() -> Any:
            return await channel.unary_unary(UNARY)(b"x", timeout=PATIENCE, metadata=(("token", token),))

        interceptor.waiting = task = asyncio.create_task(call())
        await asyncio.wait({task}, timeout=PATIENCE)
        assert task.cancelled()
        await leaks.end_of_tasks()
        if watched.started.is_set():  # it may never have got there
            assert await asyncio.to_thread(watched.over.wait, PATIENCE / 2)
