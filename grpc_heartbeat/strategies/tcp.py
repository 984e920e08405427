"""``tcp``: can a connection be made?

What answers is the kernel of the peer's host, or a load balancer before it. It completes handshakes for a process that is
frozen, stuck or too busy to accept, until its backlog is full. So an answer proves that the host is reachable and that some
process holds the port open; a refusal proves that none does. Of the application nothing is known.
"""

from __future__ import annotations

import asyncio
from typing import Any

from grpc_heartbeat.core.frames import Ack, Beat
from grpc_heartbeat.strategies.addresses import parse
from grpc_heartbeat.strategies.link import Link, closed
from grpc_heartbeat.strategies.strategy import Lost, LostError


class TcpConnect:
    """Keeps one connection, to hear at once of its end, and makes a short one for each probe: the round trip is its handshake.

    Nothing is sent, and what the peer sends is discarded. Each probe is a connection that the peer's application accepts and
    finds closed; a server that logs those will log them.

    Args:
        target: ``host:port`` or ``tcp://host:port``.

    Raises:
        ValueError: the target is none of those.
    """

    def __init__(self, target: str) -> None:
        self._address = parse(target, {"tcp": None}, bare="tcp")
        self._link: Link | None = None
        self._kept: _Kept | None = None
        self._transport: Any = None

    async def start(self, lost: Lost) -> None:
        """Connect."""
        self._link = link = Link()
        connect = asyncio.get_running_loop().create_connection
        self._transport, self._kept = await connect(lambda: _Kept(link), self._address.host, self._address.port)
        link.tell(lost)

    async def probe(self, beat: Beat) -> Ack | None:
        """Connect once more, to the same address, and let go."""
        host, port = self._transport.get_extra_info("peername")[:2]
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, host, port)
        transport.abort()
        return None

    async def stop(self) -> None:
        """Close."""
        if self._link is not None:
            self._link.end()
        if self._kept is not None:
            await closed(self._transport, self._kept.over)


class _Kept(asyncio.Protocol):
    def __init__(self, link: Link) -> None:
        self._link = link
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.fail(exc or LostError("the peer closed the connection"))
        if not self.over.done():
            self.over.set_result(None)
