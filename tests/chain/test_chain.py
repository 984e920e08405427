"""Deadline and cancellation travel root → gateway → leaf, for every stack, style and RPC kind of the gateway."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat import deadline
from grpc_heartbeat.core.deadline import BUDGET_KEY
from tests.chain.hops import GATEWAYS, HOLD, Leaf, responses, start
from tests.peers import KINDS, PATIENCE, path

Root = Callable[[str, str], grpc.Channel]

each_gateway = pytest.mark.parametrize(("stack", "style"), GATEWAYS)
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_gateway
@each_kind
def test_the_leaf_has_no_more_time_than_the_root_gave(
    root: Root, leaf: Leaf, stack: str, style: str, kind: str
) -> None:
    channel = grpc_heartbeat.wrap_channel(root(stack, style))
    with deadline.limit(5):
        call = start(channel, kind, b"hello")
        assert responses(call, kind) == [b"hello"]
    (remaining,) = leaf.remaining
    assert remaining is not None
    assert 0 < remaining <= 5


@each_gateway
@each_kind
def test_cancelling_at_the_root_ends_the_call_at_the_leaf(
    root: Root, leaf: Leaf, stack: str, style: str, kind: str
) -> None:
    call = start(root(stack, style), kind, HOLD)
    assert leaf.started.wait(PATIENCE)
    call.cancel()
    assert leaf.ended.wait(PATIENCE)


@each_gateway
@each_kind
def test_without_a_deadline_nothing_is_limited_and_nothing_is_added(
    root: Root, leaf: Leaf, stack: str, style: str, kind: str
) -> None:
    call = start(root(stack, style), kind, b"hello")
    assert responses(call, kind) == [b"hello"]
    assert leaf.remaining == [None]
    assert BUDGET_KEY not in leaf.metadata[0]


@each_gateway
def test_the_exact_budget_travels_where_grpc_timeout_would_round_it_up(
    root: Root, leaf: Leaf, stack: str, style: str
) -> None:
    channel = grpc_heartbeat.wrap_channel(root(stack, style))
    with deadline.limit(100):  # 101S on the wire
        channel.unary_unary(path("UnaryUnary"))(b"hello")
    assert int(leaf.metadata[0][BUDGET_KEY]) <= 100_000_000
    (remaining,) = leaf.remaining
    assert remaining is not None
    assert 99 < remaining <= 100
