"""``websocket-ping``: Ping frames of WebSocket (RFC 6455, section 5.5.2).

What answers is the peer's WebSocket library, mostly in the process of the application; section 5.5.2 has it answer as soon as
is practical. Proxies pass frames on without answering them, so the whole way is proved. A server that has blocked its event
loop does not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import struct
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from grpc_heartbeat.core.frames import Ack, Beat
from grpc_heartbeat.strategies.addresses import parse
from grpc_heartbeat.strategies.link import Link, tls_context
from grpc_heartbeat.strategies.strategy import LeftError, Lost, LostError, RefusedError

_GOODBYES = (1000, 1001, 1012, 1013)
"""Close codes that a server sends when all is well: normal, going away, and of IANA's list service restart, try again later."""

_TRY_LATER = 1013
_SERVER_ERRORS = 500
_CLOSE_LIMIT = 0.2
_NO_PROXY: dict[str, Any] = {"proxy": None} if "proxy" in inspect.signature(connect.__init__).parameters else {}
"""Before 15 the library knew no proxies. One that the environment names is not for a probe: it is about the peer itself."""


class WebSocketPing:
    """Holds one WebSocket; sends no messages, and discards those that come.

    Args:
        target: ``ws://host:port/path`` or ``wss://host/path``. The default ports are 80 and 443.
        roots: PEM certificates to trust. Default: those of the system.
        server_name: The name that the peer must prove. Default: the host.

    Raises:
        ValueError: the target is none of those, or ``roots`` are no certificates.
    """

    def __init__(self, target: str, *, roots: bytes | None = None, server_name: str | None = None) -> None:
        address = parse(target, {"ws": 80, "wss": 443})
        self._target = target
        self._tls: dict[str, Any] = {}
        if address.scheme == "wss":
            self._tls = {"ssl": tls_context(roots), "server_hostname": server_name or address.host}
        self._salt = os.urandom(4)
        self._link: Link | None = None
        self._socket: ClientConnection | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self, lost: Lost) -> None:
        """Connect and shake hands (section 4.1)."""
        self._link = Link()
        self._link.tell(lost)
        try:
            self._socket = await connect(
                self._target,
                open_timeout=None,
                ping_interval=None,
                close_timeout=_CLOSE_LIMIT,
                compression=None,
                **self._tls,
                **_NO_PROXY,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            raise (LostError if status >= _SERVER_ERRORS else RefusedError)(f"HTTP status {status}") from error
        except InvalidHandshake as error:
            raise LostError(f"the peer does not speak WebSocket: {error}") from error
        self._reading = asyncio.get_running_loop().create_task(self._read(self._socket, self._link))

    async def probe(self, beat: Beat) -> Ack | None:
        """Send a Ping; return when a Pong with the same payload is here (section 5.5.3)."""
        assert self._socket is not None
        assert self._link is not None
        try:
            pong = await self._socket.ping(self._salt + struct.pack(">Q", beat.sequence))
        except ConnectionClosed as error:
            raise _closed(error) from error
        await self._link.until(asyncio.ensure_future(pong))
        return None

    async def stop(self) -> None:
        """Close, with a closing handshake if the peer takes part in it."""
        if self._link is not None:
            self._link.end()
        if self._socket is not None:
            await self._socket.close()
            self._socket.transport.close()  # Python 3.10 warns of TLS that only the peer has closed
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    async def _read(self, socket: ClientConnection, link: Link) -> None:
        """Take messages out of the way: the library stops reading, pongs too, when too many wait."""
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as error:
            link.fail(_closed(error))
        except Exception as error:
            link.fail(LostError(f"the peer broke the rules of WebSocket: {error}"))


def _closed(error: ConnectionClosed) -> Exception:
    received = error.rcvd
    if received is None:
        said = "the peer closed the connection" if error.sent is None else f"the peer was closed on: {error.sent}"
        return LostError(said)
    why = f"the peer closed: {received}"
    if received.code in _GOODBYES:
        return LeftError(why, calm=received.code == _TRY_LATER)
    return LostError(why)
