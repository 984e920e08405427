"""A limit of ours arrives to the millisecond, whatever gRPC makes of ``grpc-timeout``.

C-core sends three digits, rounded up, and instead of a new time-out any that it sent on the connection before and that is up
to 3 % longer (``TimeoutCompressorImpl::EncodeWith`` in its HPACK encoder): after a call with 8.2 s, one with 8 s says 8.2 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import grpc_heartbeat
from grpc_heartbeat import TimeoutPolicy, deadline
from tests.peers import SyncServer, path

TOTALS = [8.2, 8.0, 7.99, 100.5, 100, 99, 0.5, 0.49]


@pytest.fixture
def remaining() -> Iterator[tuple[str, list[float]]]:
    left: list[float] = []

    def handler(request: bytes, context: Any) -> bytes:
        found = deadline.remaining()
        assert found is not None
        left.append(found)
        return request

    server = SyncServer(
        {"UnaryUnary": handler, "StreamUnary": lambda requests, context: handler(next(requests), context)},
        grpc_heartbeat.server_interceptors(),
    )
    yield server.target, left
    server.close()


def test_an_inherited_budget_arrives_exactly(remaining: tuple[str, list[float]]) -> None:
    target, left = remaining
    with grpc_heartbeat.insecure_channel(target) as channel:
        method: Any = channel.unary_unary(path("UnaryUnary"))
        for total in TOTALS:
            with deadline.limit(total):
                method(b"")
    assert all(found <= total for found, total in zip(left, TOTALS, strict=True)), left


def test_a_policys_total_arrives_exactly(remaining: tuple[str, list[float]]) -> None:
    target, left = remaining
    policy = TimeoutPolicy(methods={path("UnaryUnary"): {"total": 8.2}, path("StreamUnary"): {"total": 8}})
    with grpc_heartbeat.insecure_channel(target, timeouts=policy) as channel:
        first: Any = channel.unary_unary(path("UnaryUnary"))
        second: Any = channel.stream_unary(path("StreamUnary"))
        first(b"")
        second(iter([b""]))
    assert left[0] <= 8.2
    assert left[1] <= 8
