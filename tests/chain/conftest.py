"""The chain's hops as fixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc
import pytest

from tests.chain.hops import AioGateway, Leaf, SyncGateway
from tests.peers import LoopThread


@pytest.fixture
def leaf() -> Iterator[Leaf]:
    server = Leaf()
    yield server
    server.close()


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture
def gateway(leaf: Leaf, loop: LoopThread) -> Iterator[Callable[[str, str], str]]:
    """Start a gateway of a stack and style in front of the leaf; return its address."""
    opened: list[SyncGateway | AioGateway] = []

    def open_gateway(stack: str, style: str) -> str:
        opened.append(SyncGateway(leaf.target, style) if stack == "sync" else AioGateway(loop, leaf.target, style))
        return opened[-1].target

    yield open_gateway
    for each in opened:
        each.close()


@pytest.fixture
def root(gateway: Callable[[str, str], str]) -> Iterator[Callable[[str, str], grpc.Channel]]:
    """Start a gateway and return a bare channel to it."""
    opened: list[grpc.Channel] = []

    def open_root(stack: str, style: str) -> grpc.Channel:
        opened.append(grpc.insecure_channel(gateway(stack, style)))
        return opened[-1]

    yield open_root
    for channel in opened:
        channel.close()
