"""The hops on the asyncio stack: the gateway, which calls on, and the stock service, which does not."""

from __future__ import annotations

from typing import Any

import grpc.aio

from grpc_heartbeat import aio
from grpc_heartbeat.demo import services, tracing
from grpc_heartbeat.demo.beats import Heartbeat, watch
from grpc_heartbeat.demo.hops import GRACE, LOOPBACK, SERVER_OPTIONS, LoopThread, shop_handler
from grpc_heartbeat.demo.topology import BEATS, Place


class AioHop:
    """A server on ``grpc.aio``, with its loop in a thread of its own."""

    def __init__(self, place: Place) -> None:
        self.heartbeat: Heartbeat | None = None
        self._place = place
        self._channel: aio.Channel | None = None
        self._loop = LoopThread()

    def start(self, target: str) -> int:
        return self._loop.run(self._start(target))

    def leave(self) -> None:
        if self._channel is not None:
            self._loop.run(self._channel.close())

    def stop(self) -> None:
        self._loop.run(self._server.stop(GRACE))
        self._board.close()

    async def _start(self, target: str) -> int:
        interceptors = [*aio.server_interceptors(), tracing.aio_server_interceptor()]
        self._server = grpc.aio.server(interceptors=interceptors, options=SERVER_OPTIONS)
        self._board = aio.add_to_server(self._server, identity=self._place.identity())
        handler = self._gateway(target) if target else services.reserve
        self._server.add_generic_rpc_handlers((shop_handler(self._place, handler),))
        port = self._server.add_insecure_port(LOOPBACK)
        await self._server.start()
        return port

    def _gateway(self, target: str) -> Any:
        channel = aio.insecure_channel(
            target,
            interceptors=tracing.aio_client_interceptors(),
            heartbeat=BEATS,
            identity=self._place.identity(),
        )
        self._channel, self.heartbeat = channel, channel.heartbeat
        watch(self.heartbeat)
        return services.gateway(channel.unary_unary(self._place.next_method))
