"""Work whose budget is spent on arrival is rejected in the caller's terms, and its handler never runs."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat.core.deadline import BUDGET_KEY
from tests.chain.hops import start
from tests.peers import AioServer, LoopThread, SyncServer, path
from tests.server import styles
from tests.server.test_handler_styles import AIO, SYNC

SPENT = ((BUDGET_KEY, "0"),)


def assert_rejected(target: str, kind: str) -> None:
    with grpc.insecure_channel(target) as channel:
        call = start(channel, kind, b"", metadata=SPENT)
        with pytest.raises(grpc.RpcError):
            call.result() if kind.endswith("Unary") else list(call)
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert call.details().startswith(f"{path(kind)} was not started: its deadline had passed")


@pytest.mark.parametrize(("kind", "behavior"), SYNC, ids=styles.name)
def test_sync(kind: str, behavior: Any) -> None:
    server = SyncServer({kind: behavior}, grpc_heartbeat.server_interceptors())
    assert_rejected(server.target, kind)
    server.close()


@pytest.mark.parametrize(("kind", "behavior"), AIO, ids=styles.name)
def test_aio(loop: LoopThread, kind: str, behavior: Any) -> None:
    server = AioServer(loop, {kind: behavior}, grpc_heartbeat.aio.server_interceptors())
    assert_rejected(server.target, kind)
    server.close()


@pytest.mark.parametrize("value", ["", "-1", "nan", "1e3", "9" * 16, "5;6"])
def test_a_stranger_cannot_break_a_call_with_a_malformed_budget(value: str) -> None:
    def behavior(request: bytes, context: Any) -> bytes:
        return b"served"

    server = SyncServer({"UnaryUnary": behavior}, grpc_heartbeat.server_interceptors())
    with grpc.insecure_channel(server.target) as channel:
        assert start(channel, "UnaryUnary", b"", metadata=((BUDGET_KEY, value),)).result() == b"served"
    server.close()
