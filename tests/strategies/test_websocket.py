"""``websocket-ping`` against the server of ``websockets``."""

from __future__ import annotations

import asyncio
import http
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from grpc_heartbeat import HeartbeatPolicy, events
from grpc_heartbeat.core.verdicts import Verdict
from tests.heartbeat.relay import Relay
from tests.strategies.certificates import Certificate
from tests.strategies.heard import CALM, FAST, probing

WEBSOCKET = "websocket-ping"


class Site:
    """A WebSocket server: its connections, and what it does with each."""

    def __init__(self) -> None:
        self.connections: list[ServerConnection] = []
        self.flood = 0
        self.target = ""

    async def handle(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        for number in range(self.flood):
            await connection.send(f"news {number}")
        await connection.wait_closed()


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Site]:
    site = Site()
    async with serve(site.handle, "127.0.0.1", 0, ping_interval=None, close_timeout=0.1, **options) as server:
        site.target = f"127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield site


async def test_pings_are_answered() -> None:
    async with serving() as site, probing(WEBSOCKET, f"ws://{site.target}/beat?x=1") as heard:
        await heard.first(events.BeatAcked, 4)
        assert heard.prober.snapshot().verdict is Verdict.UP
        assert len(site.connections) == 1
        request = site.connections[0].request
        assert request is not None
        assert request.path == "/beat?x=1"


async def test_over_tls(certificate: Certificate) -> None:
    async with serving(ssl=certificate.server_context()) as site:
        target = f"wss://{site.target}"
        async with probing(WEBSOCKET, target, options={"roots": certificate.pem}) as heard:
            await heard.first(events.BeatAcked, 2)
        async with probing(WEBSOCKET, target) as heard:
            assert "TLS: the certificate is not trusted" in (await heard.first(events.StreamFailed)).why


async def test_news_that_nobody_reads_does_not_keep_pongs_back() -> None:
    async with serving() as site:
        site.flood = 200
        async with probing(WEBSOCKET, f"ws://{site.target}") as heard:
            await heard.first(events.BeatAcked, 4)
            assert len(site.connections) == 1


@pytest.mark.parametrize("code", [1000, 1001, 1012])
async def test_a_server_that_goes_away_is_no_alarm(code: int) -> None:
    async with serving() as site, probing(WEBSOCKET, f"ws://{site.target}") as heard:
        await heard.first(events.BeatAcked)
        await site.connections[0].close(code, "bye")
        assert f"{code}" in (await heard.first(events.PeerLeft)).message
        await heard.more(events.BeatAcked)
        assert heard.convictions == []


async def test_a_server_that_wants_us_later_is_asked_less_often() -> None:
    async with serving() as site, probing(WEBSOCKET, f"ws://{site.target}") as heard:
        await heard.first(events.BeatAcked)
        await site.connections[0].close(1013)
        await heard.first(events.PeerLeft)
        assert (await heard.more(events.BeatAcked)).ack.advised_interval == 2 * CALM.interval


async def test_other_ends_are_failures() -> None:
    async with serving() as site, probing(WEBSOCKET, f"ws://{site.target}", HeartbeatPolicy(interval=30)) as heard:
        await heard.first(events.BeatAcked)
        await site.connections[0].close(1011)
        assert "1011" in (await heard.first(events.StreamFailed)).why
        await heard.first(events.StreamOpened, 2)
        site.connections[1].transport.abort()
        assert (await heard.first(events.StreamFailed, 2)).why == "the peer closed the connection"


@pytest.mark.parametrize(("status", "cause"), [(403, "refused"), (404, "refused"), (503, "lost")])
async def test_a_handshake_that_is_answered_otherwise(status: int, cause: str) -> None:
    def refuse(connection: ServerConnection, _: Any) -> Any:
        return connection.respond(http.HTTPStatus(status), "no\n")

    async with serving(process_request=refuse) as site, probing(WEBSOCKET, f"ws://{site.target}") as heard:
        failed = await heard.first(events.StreamFailed)
        assert (failed.why, failed.cause) == (f"HTTP status {status}", cause)


async def test_a_peer_of_another_protocol() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"220 mail\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server, probing(WEBSOCKET, f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}") as heard:
        why = (await heard.first(events.StreamFailed)).why
        assert "WebSocket" in why or "handshake" in why  # 13.0 knows no more


async def test_a_relay_that_forgets_its_connections() -> None:
    async with serving() as site:
        with Relay(site.target) as relay:
            async with probing(WEBSOCKET, f"ws://{relay.target}", FAST) as heard:
                await heard.first(events.BeatAcked)
                await asyncio.to_thread(relay.forget)
                assert (await heard.first(events.StreamFailed)).cause == "silent"
                await heard.more(events.BeatAcked)


async def test_a_message_that_is_too_large_is_told() -> None:
    async with serving() as site, probing(WEBSOCKET, f"ws://{site.target}", HeartbeatPolicy(interval=30)) as heard:
        await heard.first(events.BeatAcked)
        await site.connections[0].send(bytes(2**20 + 1))
        assert "1009" in (await heard.first(events.StreamFailed)).why


async def test_a_refused_port() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with probing(WEBSOCKET, f"ws://127.0.0.1:{bound.getsockname()[1]}") as heard:
            assert (await heard.first(events.StreamFailed)).why == "the connection was refused"


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "ws_proxy", "socks_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    async with serving() as site, probing(WEBSOCKET, f"ws://{site.target}") as heard:
        await heard.first(events.BeatAcked)
