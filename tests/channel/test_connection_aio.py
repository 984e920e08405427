"""What an asyncio channel's connection tells to those who waited for it, and to the heartbeat."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator

import grpc.aio
import pytest

from grpc_heartbeat.channel.connection_aio import LOOK_EVERY, Connection
from tests.conformance.peers import Server
from tests.peers import PATIENCE


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


class Call:
    connections = 0

    def connected(self) -> None:
        self.connections += 1


class Heartbeat:
    def __init__(self) -> None:
        self.told = asyncio.Event()

    def connected_anew(self) -> None:
        self.told.set()


async def test_a_call_that_is_over_before_anybody_looks_is_not_told_but_the_heartbeat_is(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.target) as channel:
        await channel.channel_ready()
        connection, call, heartbeat = Connection(channel), Call(), Heartbeat()
        connection.made = weakref.WeakMethod(heartbeat.connected_anew)
        connection.wait(call, asyncio.get_running_loop())
        connection.leave(call)
        await asyncio.wait_for(heartbeat.told.wait(), PATIENCE)
        assert call.connections == 0


async def test_a_call_that_waits_is_told_with_the_heartbeat(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.target) as channel:
        connection, call, heartbeat = Connection(channel), Call(), Heartbeat()
        connection.made = weakref.WeakMethod(heartbeat.connected_anew)
        connection.wait(call, asyncio.get_running_loop())
        await channel.channel_ready()
        await asyncio.wait_for(heartbeat.told.wait(), PATIENCE)
        assert call.connections == 1


async def test_a_channel_that_is_closed_meanwhile_is_looked_at_no_more(server: Server) -> None:
    channel = grpc.aio.insecure_channel(server.target)
    connection, call, heartbeat = Connection(channel), Call(), Heartbeat()
    connection.made = weakref.WeakMethod(heartbeat.connected_anew)
    connection.wait(call, asyncio.get_running_loop())
    connection.leave(call)
    await channel.close()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(heartbeat.told.wait(), 10 * LOOK_EVERY)
