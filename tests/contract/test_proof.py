"""``prove_limits`` passes where limits hold, and says of each that does not what happened instead."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest

import grpc_heartbeat as hb
from grpc_heartbeat.contract import MethodContract
from grpc_heartbeat.testing.proof import Proof, prove_limits
from tests.contract.shop import method, shop

STREAM: dict[str, Any] = {"streams_responses": True}
KINDS = (
    method("shop.Orders/Place", total=0.2),
    method("shop.Orders/Watch", idle=0.2, **STREAM),
    method("shop.Orders/Export", total=3.0, idle=0.1, **STREAM),
    method("shop.Orders/Import", total=0.2, idle=0.1, streams_requests=True),
    method("shop.Orders/Chat", total=0.2, streams_requests=True, **STREAM),
)
ONE = shop(method(total=0.2))


def proofs(*contracts: MethodContract, **more: Any) -> list[tuple[str, str, float, str]]:
    found = prove_limits(shop(*contracts), tolerance=5, **more)
    assert all(isinstance(proof, Proof) and 0.09 < proof.elapsed < proof.limit + 5 for proof in found)
    return [(proof.method.partition("/")[2], proof.layer, proof.limit, proof.source) for proof in found]


def failure(contracts: dict[str, MethodContract], **more: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        prove_limits(contracts, **more)
    title, *lines = str(caught.value).split("\n  ")
    assert title == "limits that do not hold:"
    (line,) = lines
    return line


def test_each_kind_of_method_is_ended_by_the_limit_that_is_over_first() -> None:
    assert proofs(*KINDS) == [
        ("Place", "total", 0.2, "policy:contract:shop.Orders/Place"),
        ("Watch", "idle", 0.2, "policy:contract:shop.Orders/Watch"),
        ("Export", "idle", 0.1, "policy:contract:shop.Orders/Export"),
        ("Import", "total", 0.2, "policy:contract:shop.Orders/Import"),
        ("Chat", "total", 0.2, "policy:contract:shop.Orders/Chat"),
    ]


def test_more_methods_than_are_called_at_once() -> None:
    contracts = [method(f"shop.Orders/M{index}", total=0.1) for index in range(20)]
    assert len(proofs(*contracts)) == 20


def test_the_programs_own_channels_are_tried() -> None:
    intercepted: list[str] = []

    def connect(target: str) -> grpc.Channel:
        intercepted.append(target)
        interceptors = hb.client_interceptors(timeouts=hb.TimeoutPolicy({"total": 0.2}, name="edge"))
        return grpc.intercept_channel(grpc.insecure_channel(target), *interceptors)

    assert proofs(KINDS[0], connect=connect) == [("Place", "total", 0.2, "policy:edge:default")]
    assert len(intercepted) == 1


def test_the_programs_own_calls_are_tried() -> None:
    called: list[str] = []

    def call(channel: Any, name: str) -> object:
        called.append(name)
        return channel.unary_unary(f"/{name}", lambda request: b"", lambda response: None)("order")

    assert proofs(KINDS[0], call=call) == [("Place", "total", 0.2, "policy:contract:shop.Orders/Place")]
    assert called == ["shop.Orders/Place"]


def test_a_call_that_nothing_ends() -> None:
    line = failure(ONE, connect=grpc.insecure_channel, tolerance=0.3)
    assert line.startswith("shop.Orders/Place: was answered after ")
    assert line.endswith("; nothing ended it after 200 ms")


def test_a_call_that_ends_late() -> None:
    def connect(target: str) -> grpc.Channel:
        return hb.insecure_channel(target, timeouts=hb.Timeouts(total=1.5))

    line = failure(ONE, connect=connect, tolerance=1)
    assert line.startswith("shop.Orders/Place: ended after ")
    assert line.endswith(" s only; its limit is 200 ms")


def test_a_call_that_another_layer_ends() -> None:
    stream = shop(method(total=5, **STREAM))

    def connect(target: str) -> grpc.Channel:
        return hb.insecure_channel(target, timeouts=hb.Timeouts(idle=0.2))

    line = failure(stream, connect=connect)
    assert line == "shop.Orders/Place: was ended by idle (policy:default), not by its total limit"


def test_a_call_that_grpcs_own_deadline_ends() -> None:
    def call(channel: Any, name: str) -> object:
        return channel.unary_unary(f"/{name}")(b"", timeout=0.2)

    line = failure(ONE, connect=grpc.insecure_channel, call=call)
    assert line == "shop.Orders/Place: was ended by no limit of this library, not by its total limit"


def test_a_call_that_fails_otherwise() -> None:
    def other(channel: Any, name: str) -> object:
        return channel.unary_unary("/shop.Orders/Other")(b"")

    assert failure(ONE, call=other) == "shop.Orders/Place: ended with UNIMPLEMENTED: Method not found!"

    def wrong(channel: grpc.Channel, name: str) -> object:
        raise LookupError(name)

    assert failure(ONE, call=wrong) == "shop.Orders/Place: its call raised LookupError('shop.Orders/Place')"


def test_long_limits_are_left_out_and_nothing_is_an_error() -> None:
    assert [name for name, *_ in proofs(KINDS[0], method("shop.Orders/Long", total=11))] == ["Place"]
    for contracts in ({}, shop(method(total=0.5)), shop(method(declared=False))):
        with pytest.raises(ValueError, match="there is no method with a limit of at most 400 ms"):
            prove_limits(contracts, longest=0.4)
    with pytest.raises(ValueError, match="tolerance must be more than 0"):
        prove_limits(ONE, tolerance=0)


def test_nothing_is_left_behind_when_the_channel_cannot_be_made() -> None:
    def connect(target: str) -> grpc.Channel:
        raise OSError("no")

    before = threading.active_count()
    with pytest.raises(OSError, match="no"):
        prove_limits(ONE, connect=connect)
    assert threading.active_count() <= before
