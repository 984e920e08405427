"""Which methods are kept alive from inside, and what is refused."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat import InbandPolicy


def test_the_longest_match_counts() -> None:
    policy = InbandPolicy(30, services={"shop.Orders": 20, "shop.Quick": None}, methods={"/shop.Orders/Watch": 10})
    assert policy.interval_of("/shop.Orders/Watch") == 10
    assert policy.interval_of("/shop.Orders/List") == 20
    assert policy.interval_of("/shop.Quick/Any") is None
    assert policy.interval_of("/other.Service/Any") == 30


def test_a_method_can_be_left_out() -> None:
    assert InbandPolicy(30, methods={"shop.Orders/Watch": None}).interval_of("/shop.Orders/Watch") is None


def test_by_default_it_is_off() -> None:
    assert InbandPolicy().interval_of("/shop.Orders/Watch") is None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"interval": "1"}, TypeError, r"InbandPolicy.interval must be a number of seconds, not str \('1'\)"),
        ({"interval": True}, TypeError, "InbandPolicy.interval must be a number"),
        ({"interval": 0.049}, ValueError, "InbandPolicy.interval must be at least 0.05"),
        ({"interval": float("nan")}, ValueError, "InbandPolicy.interval"),
        ({"services": {"shop.Orders": 0}}, ValueError, r"InbandPolicy.services\['shop.Orders'\] must be at least 0.05"),
        ({"services": {"shop.Orders/List": 1}}, ValueError, "InbandPolicy.services: .* is no service"),
        ({"methods": {"List": 1}}, ValueError, "InbandPolicy.methods: 'List' is no method"),
        ({"methods": {1: 1}}, TypeError, "InbandPolicy.methods: the name of a method must be a string"),
        ({"methods": ["a/b"]}, TypeError, "InbandPolicy.methods must be a mapping"),
        ({"methods": {"a/b": 1, "/a/b": 2}}, ValueError, "InbandPolicy.methods has two entries for 'a/b'"),
    ],
)
def test_what_is_wrong_is_named(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        InbandPolicy(**arguments)


@pytest.mark.parametrize("face", [grpc_heartbeat, grpc_heartbeat.aio], ids=["sync", "aio"])
def test_another_kind_of_argument_is_refused(face: Any) -> None:
    with pytest.raises(TypeError, match=r"inband must be an InbandPolicy or None, not int \(5\)"):
        face.server_interceptors(inband=5)


def test_a_channel_refuses_it_too() -> None:
    with (
        grpc.insecure_channel("127.0.0.1:1") as inner,
        pytest.raises(TypeError, match="inband must be an InbandPolicy"),
    ):
        grpc_heartbeat.wrap_channel(inner, inband=5)  # type: ignore[arg-type]  # the point of the test


def test_where_it_is_off_nothing_of_it_is_made() -> None:
    inband = InbandPolicy(services={"on.Service": 1})
    with (
        grpc_heartbeat.insecure_channel("127.0.0.1:1", inband=inband) as channel,
        grpc_heartbeat.insecure_channel("127.0.0.1:1") as plain,
    ):
        for kind in ("unary_stream", "stream_unary", "stream_stream"):
            off, without = (type(getattr(each, kind)("/off.Service/Method")) for each in (channel, plain))
            assert off is without
            assert type(getattr(channel, kind)("/on.Service/Method")) is not without
        assert type(channel.unary_unary("/on.Service/Method")) is type(plain.unary_unary("/on.Service/Method"))
