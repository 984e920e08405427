"""``quic-ping`` against aioquic's server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer, serve
from aioquic.quic.configuration import QuicConfiguration

from grpc_heartbeat import HeartbeatPolicy, events
from grpc_heartbeat.core.verdicts import Verdict
from grpc_heartbeat.strategies import aio
from tests.strategies.certificates import Certificate
from tests.strategies.heard import FAST, probing

QUIC = "quic-ping"
H3_NO_ERROR, H3_INTERNAL_ERROR = 0x100, 0x102


class Site:
    """A QUIC server: its connections; ``deaf``: datagrams are swallowed."""

    def __init__(self) -> None:
        self.connections: list[_Connection] = []
        self.deaf = False
        self.target = ""


class _Connection(QuicConnectionProtocol):
    site: Site

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        if not self.site.deaf:
            super().datagram_received(data, addr)


@asynccontextmanager
async def serving(certificate: Certificate, alpn: str = "h3") -> AsyncIterator[Site]:
    site = Site()

    def connected(*arguments: Any, **options: Any) -> _Connection:
        connection = _Connection(*arguments, **options)
        connection.site = site
        site.connections.append(connection)
        return connection

    configuration = QuicConfiguration(is_client=False, alpn_protocols=[alpn])
    configuration.load_cert_chain(certificate.file, certificate.key_file)
    server: QuicServer = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=connected)
    transport: Any = server._transport
    site.target = f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    try:
        yield site
    finally:
        server.close()


async def test_pings_are_acknowledged(certificate: Certificate) -> None:
    async with serving(certificate) as site:
        async with probing(QUIC, site.target, options={"roots": certificate.pem}) as heard:
            await heard.first(events.BeatAcked, 4)
            assert heard.prober.snapshot().verdict is Verdict.UP
            assert len(site.connections) == 1
        await asyncio.wait_for(site.connections[0].wait_closed(), 10)  # it was told


async def test_a_host_of_which_not_every_address_listens(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def two(_: Any, host: str, port: int, **__: Any) -> list[Any]:
        assert host == "localhost"
        return [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

    async with serving(certificate) as site:
        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", two)
        target = f"quic://localhost:{site.target.rpartition(':')[2]}"
        async with probing(QUIC, target, options={"roots": certificate.pem}) as heard:
            await heard.first(events.BeatAcked)
            assert heard.all(events.StreamFailed) == []


async def test_a_certificate_that_is_not_trusted(certificate: Certificate) -> None:
    async with serving(certificate) as site, probing(QUIC, site.target) as heard:
        assert "the connection ended" in (await heard.first(events.StreamFailed)).why


async def test_a_peer_of_another_application_protocol(certificate: Certificate) -> None:
    async with serving(certificate, "other") as site:
        options: dict[str, Any] = {"roots": certificate.pem}
        async with probing(QUIC, site.target, options=options) as heard:
            assert "the connection ended" in (await heard.first(events.StreamFailed)).why
        async with probing(QUIC, site.target, options={**options, "alpn": ("other",)}) as heard:
            await heard.first(events.BeatAcked)


async def test_a_silent_peer_is_down_and_up_again_when_it_speaks(certificate: Certificate) -> None:
    async with (
        serving(certificate) as site,
        probing(QUIC, site.target, FAST, options={"roots": certificate.pem}) as heard,
    ):
        await heard.first(events.BeatAcked)
        site.deaf = True
        await heard.verdict(Verdict.DOWN)
        site.deaf = False
        await heard.verdict(Verdict.UP)


@pytest.mark.parametrize("code", [0, H3_NO_ERROR])
async def test_a_server_that_closes_when_all_is_well_is_no_alarm(certificate: Certificate, code: int) -> None:
    async with serving(certificate) as site:
        options = {"roots": certificate.pem}
        async with probing(
            QUIC, site.target, HeartbeatPolicy(interval=30, reconnect_min=0.02), options=options
        ) as heard:
            await heard.first(events.BeatAcked)
            site.connections[0].close(code, "a drain")
            assert (await heard.first(events.PeerLeft)).message.endswith(": a drain")
            await heard.first(events.StreamOpened, 2)
            assert heard.convictions == []


async def test_a_server_that_closes_with_an_error(certificate: Certificate) -> None:
    async with (
        serving(certificate) as site,
        probing(QUIC, site.target, options={"roots": certificate.pem}) as heard,
    ):
        await heard.first(events.BeatAcked)
        site.connections[0].close(H3_INTERNAL_ERROR)
        assert (await heard.first(events.StreamFailed)).why == "the connection ended: error 0x102"


async def test_a_refused_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
    async with probing(QUIC, f"127.0.0.1:{port}") as heard:
        assert (await heard.first(events.StreamFailed)).why == "the connection was refused"
        await heard.verdict(Verdict.DOWN)


def test_roots_that_are_none() -> None:
    for strategy in (QUIC, "http2-ping"):
        with pytest.raises(ValueError, match="roots holds no certificate in PEM form"):
            aio.Prober(strategy, "https://localhost", options={"roots": b"nothing"})
