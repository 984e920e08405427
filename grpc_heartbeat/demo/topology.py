"""Who there is: a client and three services in a row, each in a zone of its own, and how every link between them beats."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from grpc_heartbeat.config import HeartbeatPolicy, Identity

BEATS = HeartbeatPolicy(interval=0.25, timeout=0.2, misses=3, reconnect_min=0.2, reconnect_max=0.5)
"""How every link beats: a silent peer is late after a quarter of a second and down before a second has passed."""


BUDGET = 8.0
"""Seconds that a request may take in all, over every hop."""


@dataclass(frozen=True, slots=True)
class Place:
    """One process. ``method`` is what it serves (``""``: nothing); ``next_method`` what it calls (``""``: nothing)."""

    service: str
    zone: str
    stack: str
    method: str = ""
    next_method: str = ""

    def identity(self) -> Identity:
        """Return who the process is, as its heartbeats say it."""
        return Identity(self.service, self.zone)


CHECKOUT, PLACE, RESERVE = "/shop.Gateway/Checkout", "/shop.Orders/Place", "/shop.Stock/Reserve"

CLIENT = Place("client", "eu-central-1a", "sync", next_method=CHECKOUT)
GATEWAY = Place("gateway", "eu-west-1a", "asyncio", CHECKOUT, PLACE)
ORDERS = Place("orders", "eu-west-1b", "sync", PLACE, RESERVE)
STOCK = Place("stock", "eu-west-1c", "asyncio", RESERVE)

CHAIN = (CLIENT, GATEWAY, ORDERS, STOCK)
LINKS = tuple(pairwise(CHAIN))
PLACES = {place.service: place for place in CHAIN}
