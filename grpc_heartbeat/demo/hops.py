"""What a hop is to its process, and the loop thread that the asyncio hops run on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

import grpc

from grpc_heartbeat.demo.beats import Heartbeat
from grpc_heartbeat.demo.topology import Place

LOOPBACK = "127.0.0.1:0"
SERVER_OPTIONS = [("grpc.so_reuseport", 0)]
GRACE = 0.2
PATIENCE = 10.0
_T = TypeVar("_T")


class Hop(Protocol):
    """A server, and a channel to the next one, as the director's commands see them."""

    heartbeat: Heartbeat | None

    def start(self, target: str) -> int:
        """Open the channel to ``target`` (``""``: there is none) and start to serve; return the port."""
        ...

    def leave(self) -> None:
        """Close the channel."""

    def stop(self) -> None:
        """Stop the server."""


class LoopThread:
    """An event loop in a thread of its own, so that the main thread can read commands."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="loop", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run ``work`` on the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)


def shop_handler(place: Place, behavior: Any) -> grpc.GenericRpcHandler:
    """Return what serves ``place.method`` by ``behavior``; requests and replies are JSON and stay bytes here."""
    _, service, method = place.method.split("/")
    return grpc.method_handlers_generic_handler(service, {method: grpc.unary_unary_rpc_method_handler(behavior)})
