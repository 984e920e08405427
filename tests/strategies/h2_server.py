"""An HTTP/2 server by h2 that does with PINGs what a test wants."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import PingReceived


class H2Server:
    """Acknowledges PINGs, as h2 does by itself, unless told otherwise; ``swallow``: what is to be sent is dropped."""

    def __init__(self) -> None:
        self.pings: list[bytes] = []
        self.received = bytearray()
        self.swallow = False
        self.corrupt = False
        self.connections: list[_Connection] = []
        self.target = ""

    def goaway(self, code: ErrorCodes, said: bytes = b"") -> None:
        """Send GOAWAY on the newest connection."""
        newest = self.connections[-1]
        newest.h2.close_connection(code, said)
        newest.flush()

    def drop(self) -> None:
        """Cut the newest connection off."""
        self.connections[-1].transport.abort()


class _Connection(asyncio.Protocol):
    def __init__(self, server: H2Server) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False))
        self.transport: Any = None
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._server.connections.append(self)
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._server.received += data
        for event in self.h2.receive_data(data):
            if isinstance(event, PingReceived):
                self._server.pings.append(bytes(event.ping_data or b""))
        self.flush()

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if self._server.corrupt and self._server.pings:
            data = data.replace(self._server.pings[-1], bytes(8))
        if not self._server.swallow and not self.transport.is_closing():
            self.transport.write(data)


@asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[H2Server]:
    """Serve for the length of the block."""
    server = H2Server()
    listener = await asyncio.get_running_loop().create_server(lambda: _Connection(server), "127.0.0.1", 0, ssl=context)
    server.target = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        for connection in server.connections:
            connection.transport.abort()
        await asyncio.sleep(0)
