"""A cancel at the root reaches the leaf over two gateways, every time, with deadline and reason intact on the way."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import grpc
import pytest

from tests.chain.hops import HOLD, AioGateway, Leaf, SyncGateway, start
from tests.peers import KINDS, PATIENCE, LoopThread

ROUNDS = 25


@pytest.fixture
def chain(leaf: Leaf, loop: LoopThread) -> Iterator[Callable[..., str]]:
    """Start gateways of the given stacks in front of the leaf, the first being the outermost; return its address."""
    gateways: list[Any] = []

    def build(*stacks: str) -> str:
        target = leaf.target
        for stack in reversed(stacks):
            gateways.append(SyncGateway(target, "channel") if stack == "sync" else AioGateway(loop, target, "channel"))
            target = gateways[-1].target
        return target

    yield build
    for gateway in reversed(gateways):
        gateway.close()


@pytest.mark.parametrize("stacks", list(itertools.product(["sync", "aio"], repeat=2)), ids="-".join)
def test_every_cancel_reaches_the_third_hop(chain: Callable[..., str], leaf: Leaf, stacks: tuple[str, ...]) -> None:
    took: list[float] = []
    with grpc.insecure_channel(chain(*stacks)) as channel:
        for number in range(ROUNDS):
            leaf.started.clear()
            leaf.ended.clear()
            call = start(channel, KINDS[number % 4], HOLD)
            assert leaf.started.wait(PATIENCE)
            began = perf_counter()
            call.cancel()
            assert leaf.ended.wait(PATIENCE), f"cancel {number} was lost"
            took.append(perf_counter() - began)
    print(
        f"cancel over three hops, {stacks}: p50 {statistics.median(took) * 1000:.2f} ms, max {max(took) * 1000:.2f} ms"
    )


@pytest.mark.parametrize("stacks", list(itertools.product(["sync", "aio"], repeat=2)), ids="-".join)
def test_a_deadline_that_passes_at_the_root_ends_the_third_hop(
    chain: Callable[..., str], leaf: Leaf, stacks: tuple[str, ...]
) -> None:
    with grpc.insecure_channel(chain(*stacks)) as channel:
        call = start(channel, "UnaryUnary", HOLD, timeout=1.0)
        assert leaf.started.wait(PATIENCE)
        assert leaf.ended.wait(PATIENCE)
        assert call.exception(PATIENCE).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    (remaining,) = leaf.remaining
    assert remaining is not None
    assert 0 < remaining <= 1.02  # bare gRPC, which the root is, rounds its time-out up
