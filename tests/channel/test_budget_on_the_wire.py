"""A limit of ours arrives to the millisecond, whatever gRPC makes of ``grpc-timeout``.

C-core sends three digits, rounded up, and instead of a new time-out any that it sent on the connection before and that is up
to 3 % longer (``TimeoutCompressorImpl::EncodeWith`` in its HPACK encoder): after a call with 8.2 s, one with 8 s says 8.2 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
import grpc_heartbeat.aio
from grpc_heartbeat import TimeoutPolicy, Timeouts, deadline
from grpc_heartbeat.channel.metadata import without_stale_budget
from grpc_heartbeat.core.deadline import BUDGET_KEY
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


def _budget(context: Any) -> bytes:
    """Return the budget that came in the metadata, if one did."""
    return str(dict(context.invocation_metadata()).get(BUDGET_KEY, "none")).encode()


@pytest.fixture
def echo() -> Iterator[str]:
    server = SyncServer(
        {
            "UnaryUnary": lambda request, context: _budget(context),
            "UnaryStream": lambda request, context: iter([_budget(context)]),
            "StreamUnary": lambda requests, context: _budget(context),
            "StreamStream": lambda requests, context: iter([_budget(context)]),
        }
    )
    yield server.target
    server.close()


STALE = (("a", "1"), (BUDGET_KEY, "7000000"), ("a", "2"))
KINDS = {
    "unary_unary": "UnaryUnary",
    "unary_stream": "UnaryStream",
    "stream_unary": "StreamUnary",
    "stream_stream": "StreamStream",
}
timeouts_given = pytest.mark.parametrize("timeout", [None, 30.0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["channel", "interceptors"])
@timeouts_given
def test_a_budget_that_was_passed_on_limits_no_call_that_inherits_nothing(
    echo: str, kind: str, way: str, timeout: float | None
) -> None:
    plain = grpc.insecure_channel(echo) if way == "interceptors" else None
    intercepted = plain and grpc.intercept_channel(plain, *grpc_heartbeat.client_interceptors())
    with intercepted or grpc_heartbeat.insecure_channel(echo) as channel:
        stub = getattr(channel, kind)(path(KINDS[kind]))
        for metadata in (STALE, list(STALE), iter(STALE)):
            found = stub(iter([b""]) if kind.startswith("stream") else b"", timeout=timeout, metadata=metadata)
            assert (next(found) if kind.endswith("stream") else found) == b"none"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["channel", "interceptors"])
@timeouts_given
async def test_so_it_is_on_asyncio(echo: str, kind: str, way: str, timeout: float | None) -> None:
    if way == "interceptors":
        made = grpc.aio.insecure_channel(echo, interceptors=grpc_heartbeat.aio.client_interceptors())
    else:
        made = grpc_heartbeat.aio.insecure_channel(echo)
    async with made as channel:
        stub = getattr(channel, kind)(path(KINDS[kind]))
        for metadata in (STALE, grpc.aio.Metadata(*STALE)):
            call = stub(iter([b""]) if kind.startswith("stream") else b"", timeout=timeout, metadata=metadata)
            assert (await call.read() if kind.endswith("stream") else await call) == b"none"


def test_a_budget_that_an_outer_layer_of_ours_has_set_stays(echo: str) -> None:
    inner = grpc_heartbeat.insecure_channel(echo)
    with grpc_heartbeat.wrap_channel(inner, timeouts=Timeouts(total=8.2)) as channel:
        assert channel.unary_unary(path("UnaryUnary"))(b"") == str(int(8.2 * 1e6)).encode()


@pytest.mark.parametrize("metadata", [5, (5,), ((),), (("key",),), "text"])
def test_what_is_no_metadata_is_left_to_grpc(metadata: Any) -> None:
    assert without_stale_budget(metadata, None) in (metadata, tuple(metadata) if metadata == "text" else metadata)
