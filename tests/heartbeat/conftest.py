"""Both stacks for both ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.heartbeat.ends import CLIENTS, SERVERS, Client, Server
from tests.peers import LoopThread


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture(params=[*SERVERS])
def serve(request: pytest.FixtureRequest, loop: LoopThread) -> Iterator[Callable[..., Server]]:
    """Start servers of one stack and engine; they are closed after the test."""
    servers: list[Server] = []

    def start(*args: Any, **options: Any) -> Server:
        servers.append(SERVERS[request.param](loop, *args, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(params=["sync", "aio"])
def beat(request: pytest.FixtureRequest, loop: LoopThread) -> Iterator[Callable[..., Client]]:
    """Start clients of one stack; they are closed after the test, before the servers."""
    clients: list[Client] = []

    def start(*args: Any, **options: Any) -> Client:
        clients.append(CLIENTS[request.param](loop, *args, **options))
        return clients[-1]

    yield start
    for client in clients:
        client.close()
