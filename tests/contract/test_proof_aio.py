"""``aio_prove_limits`` judges asyncio's channels as ``prove_limits`` judges the others."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat as hb
from grpc_heartbeat.testing.proof import aio_prove_limits
from tests.contract.shop import method, shop
from tests.contract.test_proof import KINDS, ONE


async def test_each_kind_of_method_is_ended_by_the_limit_that_is_over_first() -> None:
    found = await aio_prove_limits(shop(*KINDS), tolerance=5)
    assert [(proof.method, proof.layer, proof.limit) for proof in found] == [
        ("shop.Orders/Place", "total", 0.2),
        ("shop.Orders/Watch", "idle", 0.2),
        ("shop.Orders/Export", "idle", 0.1),
        ("shop.Orders/Import", "total", 0.2),
        ("shop.Orders/Chat", "total", 0.2),
    ]
    assert {proof.source.rpartition(":")[0] for proof in found} == {"policy:contract"}


async def test_more_methods_than_are_called_at_once() -> None:
    assert len(await aio_prove_limits(shop(*(method(f"shop.Orders/M{index}", total=0.1) for index in range(20))))) == 20


async def test_the_programs_own_channels_and_calls_are_tried() -> None:
    called: list[str] = []

    def connect(target: str) -> grpc.aio.Channel:
        return hb.aio.insecure_channel(target, timeouts=hb.TimeoutPolicy({"total": 0.2}, name="edge"))

    async def call(channel: Any, name: str) -> object:
        called.append(name)
        return await channel.unary_unary(f"/{name}")(b"order")

    (proof,) = await aio_prove_limits(ONE, connect=connect, call=call)
    assert (proof.source, called) == ("policy:edge:default", ["shop.Orders/Place"])


async def test_what_does_not_hold_is_said() -> None:
    with pytest.raises(
        AssertionError, match=r"shop\.Orders/Place: was answered after .*; nothing ended it after 200 ms"
    ):
        await aio_prove_limits(ONE, connect=grpc.aio.insecure_channel, tolerance=0.3)

    async def wrong(channel: Any, name: str) -> object:
        raise LookupError(name)

    with pytest.raises(AssertionError, match=r"its call raised LookupError\('shop\.Orders/Place'\)"):
        await aio_prove_limits(ONE, call=wrong)
    with pytest.raises(ValueError, match="there is no method with a limit of at most 100 ms"):
        await aio_prove_limits(ONE, longest=0.1)
