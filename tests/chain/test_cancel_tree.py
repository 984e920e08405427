"""Cancellation reaches calls that the handler does not await, and leaves alone what is not the request's."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import deadline
from tests.chain.hops import GATEWAYS, HOLD, Leaf, start, stubs
from tests.peers import PATIENCE, AioServer, LoopThread, SyncServer, path, wait_until

Call = Callable[..., Any]


@pytest.fixture
def sync_channel(leaf: Leaf) -> Iterator[grpc.Channel]:
    with grpc_heartbeat.insecure_channel(leaf.target) as channel:
        yield channel


@pytest.fixture
def aio_channel(loop: LoopThread, leaf: Leaf) -> Iterator[grpc.aio.Channel]:
    async def make() -> grpc.aio.Channel:
        return grpc_heartbeat.aio.insecure_channel(leaf.target)

    channel = loop.run(make())
    yield channel
    loop.run(channel.close())


def cancel_through(target: str, leaf: Leaf) -> None:
    """Start a call at ``target``, cancel it when it has reached the leaf, and see it end there."""
    with grpc.insecure_channel(target) as channel:
        call = start(channel, "UnaryUnary", HOLD)
        assert leaf.started.wait(PATIENCE)
        call.cancel()
        assert leaf.ended.wait(PATIENCE)


async def in_a_task(one: Call, request: bytes) -> Any:
    async def work() -> Any:
        return await one(request)

    task = asyncio.ensure_future(work())
    await asyncio.Event().wait()
    return task


async def created_but_not_awaited(one: Call, request: bytes) -> Any:
    call = one(request)
    await asyncio.Event().wait()
    return call


async def gathered(one: Call, request: bytes) -> Any:
    return await asyncio.gather(one(request), one(request))


@pytest.mark.parametrize("work", [in_a_task, created_but_not_awaited, gathered])
def test_aio_handlers(
    loop: LoopThread, leaf: Leaf, aio_channel: grpc.aio.Channel, work: Callable[[Call, bytes], Awaitable[Any]]
) -> None:
    one = stubs(aio_channel)[0]

    async def handler(request: bytes, context: Any) -> Any:
        return await work(one, request)

    server = AioServer(loop, {"UnaryUnary": handler}, grpc_heartbeat.aio.server_interceptors())
    cancel_through(server.target, leaf)
    server.close()


@pytest.mark.parametrize("kind", ["UnaryUnary", "UnaryStream"])
def test_plain_handlers_of_an_aio_server(loop: LoopThread, leaf: Leaf, sync_channel: grpc.Channel, kind: str) -> None:
    one = stubs(sync_channel)[0]
    reasons: list[str | None] = []

    def respond(request: bytes, context: Any) -> bytes:
        try:
            response: bytes = one(request)
        finally:
            reasons.append(deadline.reason())
        return response

    def stream(request: bytes, context: Any) -> Iterator[bytes]:
        yield respond(request, context)

    server = AioServer(
        loop, {kind: respond if kind == "UnaryUnary" else stream}, grpc_heartbeat.aio.server_interceptors()
    )
    with grpc.insecure_channel(server.target) as channel:
        call = start(channel, kind, HOLD)
        assert leaf.started.wait(PATIENCE)
        call.cancel()
        assert leaf.ended.wait(PATIENCE)
    wait_until(lambda: reasons)
    assert reasons == ["client_cancelled"]
    server.close()


def test_work_that_a_sync_handler_binds_into_a_pool(leaf: Leaf, sync_channel: grpc.Channel) -> None:
    one = stubs(sync_channel)[0]

    with ThreadPoolExecutor(2) as pool:

        def handler(request: bytes, context: Any) -> bytes:
            response: bytes = pool.submit(deadline.bind(one), request).result()
            return response

        server = SyncServer({"UnaryUnary": handler}, grpc_heartbeat.server_interceptors())
        cancel_through(server.target, leaf)
        server.close()


def test_shielded_calls_survive_their_request(leaf: Leaf, sync_channel: grpc.Channel) -> None:
    one = stubs(sync_channel)[0]
    calls: list[Any] = []
    noticed = threading.Event()

    def handler(request: bytes, context: Any) -> bytes:
        context.add_callback(noticed.set)
        with deadline.shield():
            calls.append(one.future(request))
        noticed.wait(PATIENCE)
        return b""

    server = SyncServer({"UnaryUnary": handler}, grpc_heartbeat.server_interceptors())
    with grpc.insecure_channel(server.target) as channel:
        call = start(channel, "UnaryUnary", HOLD)
        assert leaf.started.wait(PATIENCE)
        call.cancel()
        assert noticed.wait(PATIENCE)
    wait_until(lambda: calls)
    assert not calls[0].done()
    calls[0].cancel()
    server.close()


def test_background_work_survives_a_handler_that_has_answered(
    loop: LoopThread, leaf: Leaf, aio_channel: grpc.aio.Channel
) -> None:
    one = stubs(aio_channel)[0]
    calls: list[Any] = []

    async def handler(request: bytes, context: Any) -> bytes:
        calls.append(one(HOLD))
        return b"answered"

    server = AioServer(loop, {"UnaryUnary": handler}, grpc_heartbeat.aio.server_interceptors())
    with grpc.insecure_channel(server.target) as channel:
        assert start(channel, "UnaryUnary", b"").result() == b"answered"
    assert leaf.started.wait(PATIENCE)
    server.close()
    assert not calls[0].done()
    loop.loop.call_soon_threadsafe(calls[0].cancel)
    assert leaf.ended.wait(PATIENCE)


@pytest.mark.parametrize(("stack", "style"), [("sync", "channel"), ("aio", "channel")])
def test_the_deadline_that_passes_is_told_from_a_cancel(
    root: Callable[[str, str], grpc.Channel], leaf: Leaf, stack: str, style: str
) -> None:
    call = start(root(stack, style), "UnaryUnary", HOLD, timeout=0.2)
    assert call.exception(PATIENCE).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert leaf.ended.wait(PATIENCE)


CLIENT = """
import sys, grpc
channel = grpc.insecure_channel(sys.argv[1])
channel.unary_unary(sys.argv[2])(b"hold")
"""


@pytest.mark.parametrize(("stack", "style"), GATEWAYS)
def test_killing_the_client_is_seen_at_the_last_hop(
    gateway: Callable[[str, str], str], leaf: Leaf, stack: str, style: str
) -> None:
    environment = {**os.environ, "no_grpc_proxy": "127.0.0.1"}
    command = [sys.executable, "-c", CLIENT, gateway(stack, style), path("UnaryUnary")]
    with subprocess.Popen(command, env=environment) as client:
        try:
            assert leaf.started.wait(PATIENCE)
        finally:
            client.kill()
    assert leaf.ended.wait(PATIENCE)
