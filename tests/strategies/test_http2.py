"""``http2-ping`` against h2, gRPC's core and a proxy of others."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from h2.errors import ErrorCodes

from grpc_heartbeat import HeartbeatPolicy, events
from grpc_heartbeat.core.verdicts import Verdict
from tests.heartbeat.relay import Relay
from tests.peers import OPTIONS
from tests.proxies.proxies import running
from tests.strategies.certificates import Certificate
from tests.strategies.h2_server import serving
from tests.strategies.heard import CALM, FAST, probing

HTTP2 = "http2-ping"
UNLIMITED = [*OPTIONS, ("grpc.http2.min_ping_interval_without_data_ms", 1), ("grpc.http2.max_ping_strikes", 0)]
GOAWAY_FRAME, GOAWAY_TYPE_AT = 17, 3


async def test_pings_are_acknowledged_and_each_has_other_data() -> None:
    async with serving() as server, probing(HTTP2, f"http://{server.target}") as heard:
        await heard.first(events.BeatAcked, 4)
        assert heard.prober.snapshot().verdict is Verdict.UP
    assert len(server.pings) >= 4
    assert len(set(server.pings)) == len(server.pings)
    assert {len(data) for data in server.pings} == {8}
    assert len(server.connections) == 1


async def test_who_leaves_says_goaway() -> None:
    async with serving() as server:
        async with probing(HTTP2, server.target) as heard:
            await heard.first(events.BeatAcked)
        frame = bytes(server.received[-GOAWAY_FRAME:])
    assert frame[GOAWAY_TYPE_AT] == 7  # RFC 9113, section 6.8
    assert int.from_bytes(frame[-4:], "big") == ErrorCodes.NO_ERROR


async def test_over_tls(certificate: Certificate) -> None:
    async with serving(certificate.server_context("h2")) as server:
        target, options = f"https://{server.target}", {"roots": certificate.pem}
        async with probing(HTTP2, target, options=options) as heard:
            await heard.first(events.BeatAcked, 2)
        async with probing(HTTP2, target, options={**options, "server_name": "else.where"}) as heard:
            assert "TLS: the certificate is not trusted" in (await heard.first(events.StreamFailed)).why
        async with probing(HTTP2, target) as heard:
            assert "TLS: the certificate is not trusted" in (await heard.first(events.StreamFailed)).why


async def test_a_tls_peer_that_does_not_choose_h2_is_told(certificate: Certificate) -> None:
    async with (
        serving(certificate.server_context("http/1.1")) as server,
        probing(HTTP2, f"https://{server.target}", options={"roots": certificate.pem}) as heard,
    ):
        assert "did not choose h2 by ALPN" in (await heard.first(events.StreamFailed)).why


async def test_a_silent_peer_is_down_and_up_again_when_it_speaks() -> None:
    async with serving() as server, probing(HTTP2, server.target, FAST) as heard:
        await heard.first(events.BeatAcked)
        server.swallow = True
        await heard.verdict(Verdict.DOWN)
        server.swallow = False
        await heard.verdict(Verdict.UP)


async def test_an_acknowledgement_of_other_data_is_none() -> None:
    async with serving() as server, probing(HTTP2, server.target, FAST) as heard:
        await heard.first(events.BeatAcked)
        server.corrupt = True
        await heard.verdict(Verdict.DOWN)
        assert heard.all(events.BeatMissed)


async def test_goaway_without_an_error_is_a_goodbye() -> None:
    async with serving() as server, probing(HTTP2, server.target) as heard:
        await heard.first(events.BeatAcked)
        server.goaway(ErrorCodes.NO_ERROR, b"max_age")
        assert (await heard.first(events.PeerLeft)).message == "GOAWAY, NO_ERROR: max_age"
        await heard.more(events.BeatAcked)
        assert heard.convictions == []
        assert len(server.connections) == 2


async def test_goaway_with_an_error_is_a_failure() -> None:
    async with serving() as server, probing(HTTP2, server.target) as heard:
        await heard.first(events.BeatAcked)
        server.goaway(ErrorCodes.INTERNAL_ERROR)
        assert (await heard.first(events.StreamFailed)).why == "GOAWAY, INTERNAL_ERROR"


async def test_a_connection_that_is_cut_off_is_made_anew() -> None:
    async with serving() as server, probing(HTTP2, server.target, HeartbeatPolicy(interval=30)) as heard:
        await heard.first(events.BeatAcked)
        server.drop()
        assert (await heard.first(events.StreamFailed)).why == "the peer closed the connection"
        await heard.first(events.StreamOpened, 2)


async def test_a_relay_that_forgets_its_connections() -> None:
    async with serving() as server:
        with Relay(server.target) as relay:
            async with probing(HTTP2, relay.target, FAST) as heard:
                await heard.first(events.BeatAcked)
                await asyncio.to_thread(relay.forget)
                assert (await heard.first(events.StreamFailed)).cause == "silent"
                await heard.more(events.BeatAcked)


async def test_a_refused_port() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with probing(HTTP2, f"127.0.0.1:{bound.getsockname()[1]}") as heard:
            assert (await heard.first(events.StreamFailed)).why == "the connection was refused"
            await heard.verdict(Verdict.DOWN)


async def test_a_peer_of_another_protocol() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server, probing(HTTP2, f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as heard:
        assert "HTTP/2" in (await heard.first(events.StreamFailed)).why


async def grpc_server(options: list[tuple[str, Any]]) -> tuple[grpc.aio.Server, str]:
    server = grpc.aio.server(options=options)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


async def test_grpcs_core_acknowledges() -> None:
    server, target = await grpc_server(UNLIMITED)
    async with probing(HTTP2, target) as heard:
        await heard.first(events.BeatAcked, 5)
        assert len(heard.all(events.StreamOpened)) == 1
        stopped = asyncio.ensure_future(server.stop(None))
        await heard.until(lambda: heard.all(events.PeerLeft) or heard.all(events.StreamFailed))
        await stopped
        await heard.verdict(Verdict.DOWN)


async def test_grpcs_defence_against_pings_is_heeded() -> None:
    server, target = await grpc_server(OPTIONS)
    async with probing(HTTP2, target) as heard:
        left = await heard.first(events.PeerLeft)
        assert left.message == "GOAWAY, ENHANCE_YOUR_CALM: too_many_pings"
        assert (await heard.more(events.BeatAcked)).ack.advised_interval == 2 * CALM.interval
        assert heard.convictions == []
    await server.stop(None)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["envoy", "nginx", "haproxy", "caddy"])
async def test_a_proxy_answers_for_a_server_that_is_not_there(name: str, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with running(name, nobody.getsockname()[1], tmp_path) as proxy:
            async with probing(HTTP2, proxy.target) as heard:
                await heard.first(events.BeatAcked, 3)
