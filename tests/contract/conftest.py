"""Servers of each stack that inject faults, and a client that sees everything of a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat.testing import faults
from grpc_heartbeat.testing.faults import FaultPlan
from tests.chain.hops import start
from tests.peers import AioServer, LoopThread, SyncServer

Serve = Callable[..., Any]


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture
def serve(loop: LoopThread) -> Iterator[Serve]:
    """Start a server: ``serve(stack, {kind: behavior}, plan)``; what is returned has ``target`` and ``injected()``.

    With ``ours=True`` the library's own interceptors stand before the faults. Without a plan there are no interceptors.
    """
    servers: list[Any] = []

    def run(stack: str, behaviors: Any, plan: FaultPlan | None, *, ours: bool = False, workers: int = 16) -> Any:
        sync = stack == "sync"
        face: Any = grpc_heartbeat if sync else grpc_heartbeat.aio
        interceptors = face.server_interceptors() if ours else []
        if plan is not None:
            interceptors += (faults.server_interceptors if sync else faults.aio_server_interceptors)(plan)
        server: Any = SyncServer(behaviors, interceptors, workers) if sync else AioServer(loop, behaviors, interceptors)
        server.injected = interceptors[-1].injected if plan is not None else dict
        servers.append(server)
        return server

    yield run
    for server in servers:
        server.close()


def observe(target: str, kind: str, timeout: float = 10) -> dict[str, Any]:
    """Return everything a client can see of one call."""
    with grpc.insecure_channel(target) as channel:
        call = start(channel, kind, b"hello", timeout=timeout)
        seen: list[bytes] = []
        try:
            seen.extend([call.result()] if kind.endswith("Unary") else call)
        except grpc.RpcError:
            pass
        return {
            "responses": seen,
            "code": call.code(),
            "details": call.details(),
            "initial": tuple(call.initial_metadata()),
            "trailing": tuple(call.trailing_metadata()),
        }
