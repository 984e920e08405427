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
def root(leaf: Leaf, loop: LoopThread) -> Iterator[Callable[[str, str], grpc.Channel]]:
    """Start a gateway of a stack and style in front of the leaf; return a bare channel to it."""
    opened: list[SyncGateway | AioGateway | grpc.Channel] = []

    def open_root(stack: str, style: str) -> grpc.Channel:
        gateway = SyncGateway(leaf.target, style) if stack == "sync" else AioGateway(loop, leaf.target, style)
        channel = grpc.insecure_channel(gateway.target)
        opened.extend((gateway, channel))
        return channel

    yield open_root
    for each in reversed(opened):
        each.close()
