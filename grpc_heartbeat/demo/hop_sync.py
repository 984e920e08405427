"""The hop on the sync stack: the orders service."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc

import grpc_heartbeat
from grpc_heartbeat import Timeouts
from grpc_heartbeat.demo import services, tracing
from grpc_heartbeat.demo.beats import Heartbeat, watch
from grpc_heartbeat.demo.hops import GRACE, LOOPBACK, PATIENCE, SERVER_OPTIONS, shop_handler
from grpc_heartbeat.demo.topology import BEATS, Place


def open_channel(place: Place, target: str, timeouts: Timeouts | None = None) -> grpc_heartbeat.Channel:
    """Return this library's channel around one that the official instrumentation traces."""
    channel = grpc_heartbeat.wrap_channel(
        tracing.traced_channel(target), timeouts=timeouts, heartbeat=BEATS, identity=place.identity(), name=target
    )
    watch(channel.heartbeat)
    return channel


class SyncHop:
    """A server on ``grpc``."""

    def __init__(self, place: Place) -> None:
        self.heartbeat: Heartbeat | None = None
        self._place = place
        interceptors = [*grpc_heartbeat.server_interceptors(), tracing.server_interceptor()]
        self._server = grpc.server(ThreadPoolExecutor(8), interceptors=interceptors, options=SERVER_OPTIONS)
        self._board = grpc_heartbeat.add_to_server(self._server, identity=place.identity())

    def start(self, target: str) -> int:
        self._channel = open_channel(self._place, target)
        self.heartbeat = self._channel.heartbeat
        handler = services.orders(self._channel.unary_unary(self._place.next_method))
        self._server.add_generic_rpc_handlers((shop_handler(self._place, handler),))
        port = self._server.add_insecure_port(LOOPBACK)
        self._server.start()
        return port

    def leave(self) -> None:
        self._channel.close()

    def stop(self) -> None:
        self._server.stop(GRACE).wait(PATIENCE)
        self._board.close()
