"""The client: sends orders to the gateway, and cancels one when it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import grpc

from grpc_heartbeat import Timeouts
from grpc_heartbeat.demo.beats import Heartbeat
from grpc_heartbeat.demo.hop_sync import open_channel
from grpc_heartbeat.demo.say import say
from grpc_heartbeat.demo.topology import BUDGET, Place
from grpc_heartbeat.demo.visits import failure


class ClientHop:
    """A process that serves nothing. Its channel gives every call :data:`BUDGET` seconds, unless the call says otherwise."""

    def __init__(self, place: Place) -> None:
        self.heartbeat: Heartbeat | None = None
        self._place = place
        self._calls: dict[str, Any] = {}

    def start(self, target: str) -> int:
        self._channel = open_channel(self._place, target, Timeouts(total=BUDGET))
        self.heartbeat = self._channel.heartbeat
        self._checkout = self._channel.unary_unary(self._place.next_method)
        return 0

    def send(self, order: dict[str, Any], timeout: float | None) -> None:
        """Send an order by a blocking call, on a thread of its own."""
        threading.Thread(target=self._send, args=(order, timeout), daemon=True).start()

    def begin(self, order: dict[str, Any]) -> None:
        """Send an order by a call that can be cancelled."""
        self._calls[order["id"]] = self._checkout.future(json.dumps(order).encode())

    def cancel(self, order_id: str) -> None:
        """Cancel an order's call."""
        at = monotonic()
        self._calls.pop(order_id).cancel()
        say("cancelled", at=at, id=order_id)

    def leave(self) -> None:
        self._channel.close()

    def stop(self) -> None:
        """Do nothing: there is no server."""

    def _send(self, order: dict[str, Any], timeout: float | None) -> None:
        started = monotonic()
        kind, facts = _outcome(lambda: self._checkout(json.dumps(order).encode(), timeout=timeout))
        say(kind, id=order["id"], elapsed=monotonic() - started, **facts)


def _outcome(call: Callable[[], bytes]) -> tuple[str, dict[str, Any]]:
    try:
        return "answered", {"hops": json.loads(call())}
    except grpc.RpcError as error:
        return "failed", failure(error)
