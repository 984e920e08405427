"""``quic-ping``: PING frames of QUIC (RFC 9000, section 19.2).

A PING has no answer of its own: it makes the peer acknowledge the packet that holds it, and that is waited for. What
acknowledges is the peer's QUIC library, in the process that ends the connection. A lost packet is sent again by ours, so
a round trip may hold a retransmission.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, PingAcknowledged, QuicEvent
from aioquic.quic.packet import QuicErrorCode

from grpc_heartbeat.core.frames import Ack, Beat
from grpc_heartbeat.strategies.addresses import parse
from grpc_heartbeat.strategies.link import Link, tls_context
from grpc_heartbeat.strategies.strategy import LeftError, Lost, LostError, RefusedError

_H3_NO_ERROR = 0x100
"""RFC 9114, section 8.1: how a server of HTTP/3 ends a connection when all is well."""


class QuicPing:
    """Holds one connection, on which it opens no stream.

    Args:
        target: ``quic://host:port``, ``https://host:port`` or ``host:port``. The default port is 443; a path is of no account.
        roots: PEM certificates to trust. Default: those of ``certifi``, which aioquic brings.
        server_name: The name that the peer must prove. Default: the host.
        alpn: The application protocols to offer (RFC 9001, section 8.1), of which the peer must know one. Default: ``h3``.

    Raises:
        ValueError: the target is none of those, or ``roots`` are no certificates.
    """

    def __init__(
        self,
        target: str,
        *,
        roots: bytes | None = None,
        server_name: str | None = None,
        alpn: Sequence[str] = ("h3",),
    ) -> None:
        self._address = parse(target, {"quic": 443, "https": 443}, bare="quic")
        if roots is not None:
            tls_context(roots)  # refuses what is no certificate; the library would do so with each connection
        self._configuration = QuicConfiguration(
            is_client=True, alpn_protocols=list(alpn), server_name=server_name or self._address.host, cadata=roots
        )
        self._link: Link | None = None
        self._connection: _Connection | None = None

    async def start(self, lost: Lost) -> None:
        """Connect; the peer has accepted when the handshake is complete (RFC 9001, section 4.1.1)."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._address.host, self._address.port, type=socket.SOCK_DGRAM)
        for number, (family, _, _, _, address) in enumerate(found, start=1):
            try:
                self._link = await self._shake(family, address)
            except OSError:
                if number == len(found):
                    raise
            else:
                self._link.tell(lost)
                return

    async def _shake(self, family: int, address: Any) -> Link:
        """Try one address of the host; a connected socket hears of refusals (ICMP), and from nobody but this peer."""
        link = Link()
        _, self._connection = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Connection(link, self._configuration), family=family, remote_addr=address[:2]
        )
        try:
            self._connection.begin()
            await link.until(self._connection.shaken)
        except OSError:
            self._connection.leave()
            raise
        return link

    async def probe(self, beat: Beat) -> Ack | None:
        """Send a PING; return when the packet that holds it is acknowledged."""
        assert self._connection is not None
        assert self._link is not None
        await self._link.until(self._connection.ask(beat.sequence))
        return None

    async def stop(self) -> None:
        """Send CONNECTION_CLOSE (section 19.19), and wait for nothing."""
        if self._link is not None:
            self._link.end()
        if self._connection is not None:
            self._connection.leave()


class _Connection(QuicConnectionProtocol):
    def __init__(self, link: Link, configuration: QuicConfiguration) -> None:
        super().__init__(QuicConnection(configuration=configuration))
        self._link = link
        self._datagrams: Any = None
        self._asked: tuple[int, asyncio.Future[None]] | None = None
        self.shaken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._datagrams = transport
        super().connection_made(transport)

    def begin(self) -> None:
        """Send the first packet, to where the socket is connected."""
        self.connect(self._datagrams.get_extra_info("peername"))

    def ask(self, number: int) -> asyncio.Future[None]:
        """Send a PING; the future is done when it is acknowledged. One that was sent before is waited for no more."""
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked = number, answered
        if not self._link.over:
            self._quic.send_ping(number)
            self.transmit()
        return answered

    def leave(self) -> None:
        """Close. The library's timer may still fire once, and finds nothing to do."""
        if not self._datagrams.is_closing():
            self.close()
            self._datagrams.close()

    def transmit(self) -> None:
        if not self._datagrams.is_closing():
            super().transmit()

    def error_received(self, exc: Exception) -> None:
        self._link.fail(exc)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, PingAcknowledged):
            if self._asked is not None and self._asked[0] == event.uid and not self._asked[1].done():
                self._asked[1].set_result(None)
        elif isinstance(event, HandshakeCompleted):
            self.shaken.set_result(None)
        elif isinstance(event, ConnectionTerminated):
            self._link.fail(_terminated(event))


def _terminated(event: ConnectionTerminated) -> Exception:
    """Return what the end of a connection means (RFC 9000, section 20)."""
    code, reason = event.error_code, event.reason_phrase
    name = next((known.name for known in QuicErrorCode if known == code), f"error {code:#x}")
    why = f"the connection ended: {name}" + (f": {reason}" if reason else "")
    if code == QuicErrorCode.CONNECTION_REFUSED:
        return RefusedError(why)
    if event.frame_type is None and code in (QuicErrorCode.NO_ERROR, _H3_NO_ERROR):
        return LeftError(why)
    return LostError(why)
