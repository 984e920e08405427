"""A server with our interceptors answers exactly as a bare one does, however its handlers are written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat import deadline
from tests.chain.hops import start
from tests.peers import AioServer, LoopThread, SyncServer
from tests.server import styles


def observe(target: str, kind: str) -> dict[str, Any]:
    """Return everything a client can see of one call."""
    with grpc.insecure_channel(target) as channel:
        call = start(channel, kind, b"hello", timeout=10)
        seen: list[bytes] = []
        try:
            seen.extend([call.result()] if kind.endswith("Unary") else call)
        except grpc.RpcError:
            pass
        return {
            "responses": seen,
            "code": call.code(),
            "details": call.details(),
            "initial": tuple(call.initial_metadata()),
            "trailing": tuple(call.trailing_metadata()),
        }


@pytest.mark.parametrize(("kind", "behavior"), styles.cases(styles.SYNC_STYLES), ids=styles.name)
def test_sync_server_answers_as_a_bare_one(kind: str, behavior: Any) -> None:
    answers = []
    for interceptors in ([], grpc_heartbeat.server_interceptors()):
        server = SyncServer({kind: behavior}, interceptors)
        answers.append(observe(server.target, kind))
        server.close()
    assert answers[1] == answers[0]


@pytest.mark.parametrize(("kind", "behavior"), styles.cases(styles.AIO_STYLES), ids=styles.name)
def test_aio_server_answers_as_a_bare_one(loop: LoopThread, kind: str, behavior: Any) -> None:
    answers = []
    for interceptors in ([], grpc_heartbeat.aio.server_interceptors()):
        server = AioServer(loop, {kind: behavior}, interceptors)
        answers.append(observe(server.target, kind))
        server.close()
    assert answers[1] == answers[0]


def _remaining() -> bytes:
    return repr(deadline.remaining()).encode()


def sync_one(request: Any, context: Any) -> bytes:
    return _remaining()


def sync_many(request: Any, context: Any) -> Iterator[bytes]:
    yield _remaining()
    yield _remaining()


def sync_non_blocking(request: Any, context: Any, send_response: Any) -> None:
    send_response(_remaining())
    send_response(None)


sync_non_blocking.experimental_non_blocking = True  # type: ignore[attr-defined]  # how grpcio marks them


async def aio_one(request: Any, context: Any) -> bytes:
    return _remaining()


async def aio_many(request: Any, context: Any) -> Any:
    yield _remaining()
    yield _remaining()


async def aio_writer(request: Any, context: Any) -> None:
    await context.write(_remaining())


SYNC = [
    ("UnaryUnary", sync_one),
    ("StreamUnary", sync_one),
    ("UnaryStream", sync_many),
    ("StreamStream", sync_many),
    ("UnaryStream", sync_non_blocking),
]
AIO = [
    ("UnaryUnary", aio_one),
    ("StreamUnary", aio_one),
    ("UnaryStream", aio_many),
    ("StreamStream", aio_many),
    ("UnaryStream", aio_writer),
    ("StreamStream", aio_writer),
    *SYNC[:4],
]


def assert_in_scope(target: str, kind: str) -> None:
    with grpc.insecure_channel(target) as channel:
        limited = start(channel, kind, b"", timeout=10)
        for response in [limited.result()] if kind.endswith("Unary") else limited:
            assert 0 < float(response) <= 10.1
        unlimited = start(channel, kind, b"")
        for response in [unlimited.result()] if kind.endswith("Unary") else unlimited:
            assert response == b"None"


@pytest.mark.parametrize(("kind", "behavior"), SYNC, ids=styles.name)
def test_each_sync_style_runs_in_scope(kind: str, behavior: Any) -> None:
    server = SyncServer({kind: behavior}, grpc_heartbeat.server_interceptors())
    assert_in_scope(server.target, kind)
    server.close()


@pytest.mark.parametrize(("kind", "behavior"), AIO, ids=styles.name)
def test_each_aio_style_runs_in_scope(loop: LoopThread, kind: str, behavior: Any) -> None:
    server = AioServer(loop, {kind: behavior}, grpc_heartbeat.aio.server_interceptors())
    assert_in_scope(server.target, kind)
    server.close()
