"""The experiment behind the predictions: one connection with the options of a cell, and what becomes of it.

A cell's connection is quiet, with an echo stream held open on it or with no call at all. Every channel has connections of its
own. The cells of a grid run at the same time on one event loop, so a grid takes as long as its slowest cell.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat.options import Enforcement, check_options
from grpc_heartbeat.options.pings import Fate

Pairs = list[tuple[str, object]]

ECHO = "/test.Grid/Echo"
LATE = 1.5
"""Seconds that a busy machine may add."""
EARLY = 0.7
REASONS = ("too many pings", "too_many_pings", "socket closed")
"""What gRPC says of such an end; the last, older releases when a server in Go closes the connection behind its GOAWAY."""
WATCHED = 11.0
"""Seconds for which a connection that is to survive is watched: longer than any GOAWAY of these grids may take."""


@dataclass(frozen=True)
class Cell:
    """A pair of options; ``calls`` tells whether a stream is held open."""

    client: Pairs
    server: Pairs | Enforcement
    calls: bool

    def fate(self) -> Fate:
        prediction = check_options(client=self.client, server=self.server).prediction
        return prediction.in_call if self.calls else prediction.without_calls


@dataclass(frozen=True)
class Seen:
    """What became of the connection: ``ended`` is the time of its end, or ``None``; ``said`` is gRPC's text."""

    ended: float | None
    said: str = ""


@asynccontextmanager
async def echo_server(options: Pairs) -> AsyncIterator[str]:
    async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    server = grpc.aio.server(options=[*options, ("grpc.so_reuseport", 0)])
    handler: Any = grpc.method_handlers_generic_handler(
        "test.Grid", {"Echo": grpc.stream_stream_rpc_method_handler(echo)}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def watch(target: str, options: Pairs, *, calls: bool, first: tuple[str, bytes] = (ECHO, b"first")) -> Seen:
    """Hold a connection of its own and return what became of it; ``first`` is what opens a stream: method and message."""
    channel = grpc.aio.insecure_channel(target, options=[*options, ("grpc.use_local_subchannel_pool", 1)])
    async with channel:
        await asyncio.wait_for(channel.channel_ready(), 10)
        return await (_held(channel, *first) if calls else _unused(channel))


async def _held(channel: grpc.aio.Channel, method: str, message: bytes) -> Seen:
    call: Any = channel.stream_stream(method)()
    await call.write(message)
    assert isinstance(await call.read(), bytes)
    started = time.monotonic()
    reading = asyncio.ensure_future(call.read())
    await asyncio.wait([reading], timeout=WATCHED)
    lasted = time.monotonic() - started
    if not reading.done():
        call.cancel()
        await asyncio.wait([reading])
        return Seen(None)
    error = reading.exception()
    assert isinstance(error, grpc.aio.AioRpcError), reading
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    return Seen(lasted, error.details() or "")


async def _unused(channel: grpc.aio.Channel) -> Seen:
    started = time.monotonic()
    state = channel.get_state()
    assert state is grpc.ChannelConnectivity.READY
    try:
        await asyncio.wait_for(channel.wait_for_state_change(state), WATCHED)
    except asyncio.TimeoutError:
        return Seen(None)
    return Seen(time.monotonic() - started, "too_many_pings, or what else can end an unused connection here")


def judge(fate: Fate, seen: Seen) -> str | None:
    """Return what is wrong with the prediction ``fate``, or ``None``."""
    if fate.outcome == "survives":
        return None if seen.ended is None else f"predicted to survive, but ended after {seen.ended:.1f} s: {seen.said}"
    if fate.outcome == "uncertain":
        return (
            None
            if seen.ended is None or seen.ended > (fate.earliest or 0) * EARLY
            else f"ended after {seen.ended:.1f} s"
        )
    assert fate.earliest is not None
    assert fate.latest is not None
    if seen.ended is None and fate.latest + LATE < WATCHED:
        return f"predicted to end after {fate.earliest:.1f} to {fate.latest:.1f} s, but survived"
    if seen.ended is not None and not fate.earliest * EARLY <= seen.ended <= fate.latest + LATE:
        return f"predicted to end after {fate.earliest:.1f} to {fate.latest:.1f} s, but ended after {seen.ended:.1f} s"
    if seen.ended is not None and not any(reason in seen.said.lower() for reason in REASONS):
        return f"ended for another reason: {seen.said}"
    return None


def client(millis: int, max_pings: int = 0, permit: int = 0) -> Pairs:
    """Client options with a keepalive time."""
    return [
        ("grpc.keepalive_time_ms", millis),
        ("grpc.http2.max_pings_without_data", max_pings),
        ("grpc.keepalive_permit_without_calls", permit),
    ]


def server(interval: int | None = None, strikes: int | None = None, permit: int | None = None) -> Pairs:
    """Server options about PINGs; ``None`` leaves gRPC's default."""
    options: list[tuple[str, object | None]] = [
        ("grpc.http2.min_ping_interval_without_data_ms", interval),
        ("grpc.http2.max_ping_strikes", strikes),
        ("grpc.keepalive_permit_without_calls", permit),
    ]
    return [(name, value) for name, value in options if value is not None]


def cells() -> Iterator[Cell]:
    """The grid: every client with every server, held and without calls."""
    clients = [
        client(1000),
        client(2000),
        client(300),
        client(1000, max_pings=2),
        client(1000, permit=1),
        client(2000, permit=1),
    ]
    servers = [server(), server(500), server(1000), server(1500), server(3000, strikes=1), server(None, strikes=0)]
    servers += [server(500, permit=1), server(3000, strikes=1, permit=1)]
    for options in clients:
        for allowed in servers:
            yield from (Cell(options, allowed, calls) for calls in (True, False))
