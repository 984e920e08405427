"""Servers of each stack with our interceptor, and how their handlers are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import grpc_heartbeat
from tests.peers import AioServer, LoopThread, SyncServer

Serve = Callable[..., Any]


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture(params=["sync", "aio", "plain"])
def stack(request: pytest.FixtureRequest) -> str:
    """A sync server, an asyncio server, or an asyncio server whose handlers are plain functions."""
    return str(request.param)


@pytest.fixture
def serve(loop: LoopThread) -> Iterator[Serve]:
    """Start a server of a stack: ``serve(stack, {kind: behavior}, **arguments of server_interceptors)``.

    What is returned has ``target`` and ``interceptor``.
    """
    servers: list[Any] = []

    def run(stack: str, behaviors: Any, workers: int = 16, **arguments: Any) -> Any:
        face: Any = grpc_heartbeat if stack == "sync" else grpc_heartbeat.aio
        interceptors = face.server_interceptors(**arguments)
        if stack == "sync":
            server: Any = SyncServer(behaviors, interceptors, workers)
        else:
            server = AioServer(loop, behaviors, interceptors)
        server.interceptor = interceptors[0]
        servers.append(server)
        return server

    yield run
    for server in servers:
        server.close()
