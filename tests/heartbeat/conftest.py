"""Both stacks for both ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.heartbeat.ends import CLIENTS, ENGINES, SERVERS, Client, Server, use_engine
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


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine of the clients' streams: by private names of grpcio, or by public API alone. Returns the stack."""
    stack, _, public = request.param.partition(" ")
    use_engine(monkeypatch, bool(public))
    return str(stack)


@pytest.fixture
def beat(engine: str, loop: LoopThread) -> Iterator[Callable[..., Client]]:
    """Start clients of one stack and engine; they are closed after the test, before the servers."""
    clients: list[Client] = []

    def start(*args: Any, **options: Any) -> Client:
        clients.append(CLIENTS[engine](loop, *args, **options))
        return clients[-1]

    yield start
    for client in clients:
        client.close()
