"""``grpc`` against servers of both stacks, with and without heartbeats."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

import grpc_heartbeat as hb
from grpc_heartbeat import events
from grpc_heartbeat.core.frames import ServingStatus
from tests.heartbeat.relay import Relay
from tests.peers import OPTIONS
from tests.strategies.certificates import Certificate
from tests.strategies.heard import FAST, probing


@asynccontextmanager
async def serving(kind: str = "heartbeat", certificate: Certificate | None = None) -> AsyncIterator[str]:
    server = grpc.aio.server(options=OPTIONS)
    board = None
    if kind == "heartbeat":
        board = hb.aio.add_to_server(server, identity=hb.Identity("orders", "zone-b", "host:1"))
    elif kind == "health":
        servicer = health.aio.HealthServicer()
        await servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if certificate is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = certificate.key_file.read_bytes(), certificate.pem
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
        if board is not None:
            board.close()


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("heartbeat", ServingStatus.SERVING),
        ("health", ServingStatus.NOT_SERVING),
        ("neither", ServingStatus.UNKNOWN),
    ],
)
async def test_each_kind_of_server_is_asked_as_it_can_be(kind: str, status: ServingStatus) -> None:
    async with serving(kind) as target, probing("grpc", target) as heard:
        acked = await heard.first(events.BeatAcked, 2)
        assert acked.ack.status is status
        peer = heard.prober.snapshot().peer
        assert (None if peer is None else peer.service) == ("orders" if kind == "heartbeat" else None)


async def test_over_tls(certificate: Certificate) -> None:
    async with serving(certificate=certificate) as target:
        options: dict[str, Any] = {"roots": certificate.pem}
        async with probing("grpc", f"https://{target}", options=options) as heard:
            await heard.first(events.BeatAcked)


async def test_a_silent_way_is_down_and_up_again() -> None:
    async with serving() as target:
        with Relay(target) as relay:
            async with probing("grpc", relay.target, FAST) as heard:
                await heard.first(events.BeatAcked)
                await asyncio.to_thread(relay.forget)
                assert (await heard.first(events.StreamFailed)).cause == "silent"
                await heard.more(events.BeatAcked)


async def test_a_refused_port() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with probing("grpc", f"127.0.0.1:{bound.getsockname()[1]}") as heard:
            failed = await heard.first(events.StreamFailed)
            assert "UNAVAILABLE" in failed.why
            assert failed.cause == "lost"
