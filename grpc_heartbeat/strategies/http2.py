"""``http2-ping``: PING frames of HTTP/2 (RFC 9113, section 6.7).

What answers is the peer's HTTP/2 library, or that of a proxy before it: PING goes no farther than the connection. A process
that runs answers also while its application is stuck, if the library has threads of its own. A proxy answers for a server that
is dead, and cuts an idle stream however many PINGs move beside it.

A gRPC server takes PINGs that come more often than it allows, once in five minutes by default, for abuse, and answers
the fourth with GOAWAY, ENHANCE_YOUR_CALM. That is obeyed: the next connection is asked half as often. Servers of your own can
allow more (``server_options``), and the strategy ``grpc`` is no abuse anywhere.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import struct
from typing import Any, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event, PingAckReceived, RemoteSettingsChanged
from h2.exceptions import ProtocolError

from grpc_heartbeat.core.frames import Ack, Beat
from grpc_heartbeat.strategies.addresses import parse
from grpc_heartbeat.strategies.link import Link, closed, tls_context
from grpc_heartbeat.strategies.strategy import LeftError, Lost, LostError


class Http2Ping:
    """Holds one connection, on which it opens no stream.

    Args:
        target: ``http://host:port`` or ``host:port`` without TLS (prior knowledge, RFC 9113 section 3.3), or ``https://host``
            with TLS and ALPN ``h2`` (section 3.2). The default ports are 80 and 443; a path is of no account.
        roots: PEM certificates to trust. Default: those of the system.
        server_name: The name that the peer must prove. Default: the host.

    Raises:
        ValueError: the target is none of those, or ``roots`` are no certificates.
    """

    def __init__(self, target: str, *, roots: bytes | None = None, server_name: str | None = None) -> None:
        self._address = parse(target, {"http": 80, "https": 443}, bare="http")
        self._tls = tls_context(roots, ("h2",)) if self._address.scheme == "https" else None
        self._server_name = server_name or self._address.host
        self._link: Link | None = None
        self._connection: _Connection | None = None

    async def start(self, lost: Lost) -> None:
        """Connect; the peer has accepted when its SETTINGS are here, the first frame that a server sends (section 3.4)."""
        self._link = link = Link()
        _, self._connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(link),
            self._address.host,
            self._address.port,
            ssl=self._tls,
            server_hostname=None if self._tls is None else self._server_name,
        )
        await link.until(self._connection.settled)
        link.tell(lost)

    async def probe(self, beat: Beat) -> Ack | None:
        """Send a PING; return when the same 8 bytes have come back in one with the ACK flag."""
        assert self._connection is not None
        assert self._link is not None
        await self._link.until(self._connection.ping(beat.sequence))
        return None

    async def stop(self) -> None:
        """Say GOAWAY, as section 5.4.1 wants, and close."""
        if self._link is not None:
            self._link.end()
        if self._connection is not None:
            await self._connection.close()


class _Connection(asyncio.Protocol):
    """The client's end of one HTTP/2 connection; SETTINGS and PINGs of the peer are answered by h2."""

    def __init__(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        self._link = link
        self._h2 = H2Connection(H2Configuration(client_side=True))
        self._transport: Any = None
        self._salt = os.urandom(4)  # so that nobody acknowledges what was not sent yet
        self._asked: tuple[bytes, asyncio.Future[None]] | None = None
        self.settled: asyncio.Future[None] = loop.create_future()
        self._over: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        tls = cast("ssl.SSLObject | None", transport.get_extra_info("ssl_object"))
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self._link.fail(LostError("the peer does not speak HTTP/2: it did not choose h2 by ALPN"))
            self._transport.close()
            return
        self._h2.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self._link.over:
            return
        try:
            for event in self._h2.receive_data(data):
                self._hear(event)
        except ProtocolError as error:
            why = "broke the rules of HTTP/2" if self.settled.done() else "does not speak HTTP/2"
            self._link.fail(LostError(f"the peer {why}: {error}"))
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        spoke = "" if self.settled.done() else " and has not spoken HTTP/2"
        self._link.fail(exc or LostError(f"the peer closed the connection{spoke}"))
        if not self._over.done():
            self._over.set_result(None)

    def ping(self, number: int) -> asyncio.Future[None]:
        """Send a PING; the future is done when it is acknowledged. One that was sent before is waited for no more."""
        opaque = self._salt + struct.pack(">L", number % 2**32)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked = opaque, answered
        if not self._link.over:
            self._h2.ping(opaque)
            self._flush()
        return answered

    async def close(self) -> None:
        if not self._over.done() and not self._transport.is_closing():
            self._h2.close_connection()
            self._flush()
        await closed(self._transport, self._over)

    def _hear(self, event: Event) -> None:
        if isinstance(event, PingAckReceived):
            self._acknowledged(event.ping_data)
        elif isinstance(event, ConnectionTerminated):
            self._link.fail(_goaway(event))
        elif isinstance(event, RemoteSettingsChanged) and not self.settled.done():
            self.settled.set_result(None)

    def _acknowledged(self, opaque: bytes | None) -> None:
        """Take in an ACK; one of other bytes is the answer to nothing that is waited for."""
        if self._asked is not None and self._asked[0] == opaque and not self._asked[1].done():
            self._asked[1].set_result(None)

    def _flush(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._h2.data_to_send())


def _goaway(event: ConnectionTerminated) -> Exception:
    """Return what a GOAWAY means (section 6.8): without an error, or with a plea for calm, it is a goodbye."""
    code = event.error_code
    name = code.name if isinstance(code, ErrorCodes) else f"error {code}"
    said = bytes(event.additional_data or b"").decode("utf-8", "replace")
    why = f"GOAWAY, {name}" + (f": {said}" if said else "")
    if code == ErrorCodes.NO_ERROR:
        return LeftError(why)
    return LeftError(why, calm=True) if code == ErrorCodes.ENHANCE_YOUR_CALM else LostError(why)
