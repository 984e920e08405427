"""A server of one stack that tells its calls' connections apart, and counts the probes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from grpc_heartbeat.heartbeat.calls import PING
from tests.heartbeat.relay import Relay
from tests.peers import OPTIONS, PATIENCE, handlers

CHECK = "/grpc.health.v1.Health/Check"


class Peer:
    """A server whose handlers wait on request. ``peers`` has each call's connection, ``probes`` the probes' methods."""

    def __init__(self, *services: str) -> None:
        self.peers: list[str] = []
        self.probes: list[str] = []
        self.services = services
        """Which probes it answers; others are UNIMPLEMENTED."""
        self.go = threading.Event()
        """Set this to have ``wait`` requests answered."""
        self._workers = ThreadPoolExecutor(32)
        self._server = grpc.server(self._workers, options=OPTIONS, interceptors=[_Probes(self)])
        self._server.add_generic_rpc_handlers(
            (
                handlers(
                    {
                        "UnaryUnary": self.answer,
                        "UnaryStream": self.stream,
                        "StreamUnary": lambda requests, context: b"".join(requests),
                        "StreamStream": lambda requests, context: requests,
                    }
                ),
            )
        )
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.peers.append(context.peer())
        if request == b"wait":
            self.go.wait(PATIENCE)
        elif request == b"fail":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "as you wish")
        elif request == b"unavailable":
            context.abort(grpc.StatusCode.UNAVAILABLE, "as you wish")
        return request

    def stream(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield self.answer(request[:0], context)
        while request == b"endless" and context.is_active():
            self.go.wait(0.01)
        yield request

    def close(self) -> None:
        self.go.set()
        self._server.stop(None).wait(PATIENCE)
        self._workers.shutdown()


class _Probes(grpc.ServerInterceptor):
    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method not in (PING, CHECK):
            return continuation(handler_call_details)
        self._peer.probes.append(handler_call_details.method)
        if handler_call_details.method in self._peer.services:
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
        return None


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer(PING)
    yield made
    made.close()


@pytest.fixture
def relay(peer: Peer) -> Iterator[Relay]:
    with Relay(peer.target) as made:
        yield made
