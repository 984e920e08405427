"""The three services. Not one line here is about deadlines, cancellation or heartbeats.

A handler reports its visits, does some work of its own and calls the next service through an ordinary multicallable.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from grpc_heartbeat.demo.visits import visit

OWN_WORK = 0.02
"""Seconds that the gateway and the orders service work before they ask the next service."""


def gateway(place: Callable[[bytes], Awaitable[bytes]]) -> Callable[[bytes, Any], Awaitable[bytes]]:
    """Return the handler of ``shop.Gateway/Checkout``, for the asyncio stack."""

    async def checkout(request: bytes, context: Any) -> bytes:  # noqa: ARG001 - gRPC's signature
        with visit("gateway", request) as seen:
            await asyncio.sleep(OWN_WORK)
            return seen.reply(await place(request))

    return checkout


def orders(reserve: Callable[[bytes], bytes]) -> Callable[[bytes, Any], bytes]:
    """Return the handler of ``shop.Orders/Place``, for the sync stack."""

    def place(request: bytes, context: Any) -> bytes:  # noqa: ARG001 - gRPC's signature
        with visit("orders", request) as seen:
            time.sleep(OWN_WORK)
            return seen.reply(reserve(request))

    return place


async def reserve(request: bytes, context: Any) -> bytes:  # noqa: ARG001 - gRPC's signature
    """Handle ``shop.Stock/Reserve``, for the asyncio stack: work for as long as the order asks."""
    with visit("stock", request) as seen:
        await asyncio.sleep(seen.work)
        return seen.reply()
