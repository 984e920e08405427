"""The board, and the official health service that follows it, on both stacks."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from grpc_heartbeat import _faults
from grpc_heartbeat.core.frames import Beat, ServingStatus
from grpc_heartbeat.health import HealthBoard
from grpc_heartbeat.heartbeat import calls, codec
from grpc_heartbeat.heartbeat.server import add_to_server
from tests.heartbeat.ends import SERVER, Server, SyncServer
from tests.peers import LoopThread, wait_until

Serve = Callable[..., Server]
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def stub(channel: grpc.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


def check(target: str, service: str = "") -> int:
    with grpc.insecure_channel(target) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return int(stub(channel).Check(request, timeout=5).status)


def test_a_board_begins_serving_and_takes_booleans_and_statuses() -> None:
    board = HealthBoard()
    assert board.status() is ServingStatus.SERVING
    assert board.status("orders") is ServingStatus.UNKNOWN
    board.set("orders", True)
    board.set("stock", ServingStatus.NOT_SERVING)
    assert board.statuses() == {"": 1, "liveness": 1, "readiness": 1, "orders": 1, "stock": 2}
    with pytest.raises(TypeError, match="serving must be a boolean or a ServingStatus, not str"):
        board.set("orders", "yes")  # type: ignore[arg-type]


def test_listeners_hear_what_is_and_each_change_once() -> None:
    board = HealthBoard()
    heard: list[tuple[str, ServingStatus]] = []
    board.listen(lambda service, status: heard.append((service, status)))
    board.set("orders", True)
    board.set("orders", True)
    board.set("orders", False)
    assert heard == [("", 1), ("liveness", 1), ("readiness", 1), ("orders", 1), ("orders", 2)]


def test_a_drain_is_final_and_told_once_with_its_reason() -> None:
    board = HealthBoard()
    board.set("orders", True)
    reasons: list[str] = []
    board.on_drain(reasons.append)
    board.drain("update")
    board.drain("again")
    board.set("orders", True)
    board.on_drain(reasons.append)
    assert set(board.statuses().values()) == {ServingStatus.NOT_SERVING}
    assert reasons == ["update", "update"]
    assert board.draining == "update"


@pytest.mark.internal_faults
def test_a_listener_that_raises_disturbs_nobody() -> None:
    board = HealthBoard()
    heard: list[ServingStatus] = []
    board.listen(lambda service, status: 1 / 0)
    board.listen(lambda service, status: heard.append(status))
    board.set("liveness", False)
    assert heard == [1, 1, 1, 2, 2, 2]
    assert _faults.counts()["health.listener"] >= 2


def test_check_follows_the_board(serve: Serve) -> None:
    server = serve()
    assert check(server.target) == SERVING
    server.board.set("orders", True)
    wait_until(lambda: check(server.target, "orders") == SERVING)
    server.board.drain()
    wait_until(lambda: {check(server.target, service) for service in ("", "orders")} == {NOT_SERVING})
    with pytest.raises(grpc.RpcError) as caught:
        check(server.target, "nobody")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_watch_hears_changes_from_another_thread(serve: Serve) -> None:
    server = serve()
    with grpc.insecure_channel(server.target) as channel:
        watch = stub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=10)
        assert next(watch).status == SERVING
        server.board.set("", False)
        assert next(watch).status == NOT_SERVING
        server.board.set("", True)
        assert next(watch).status == SERVING
        watch.cancel()


def test_watchers_hold_no_thread(loop: LoopThread) -> None:
    server = SyncServer(loop)
    with grpc.insecure_channel(server.target) as channel:
        watches = [stub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=10) for _ in range(5)]
        assert [next(watch).status for watch in watches] == [SERVING] * 5
        assert check(server.target) == SERVING
        for watch in watches:
            watch.cancel()
    server.close()


def test_health_answers_while_every_worker_is_stuck_elsewhere(loop: LoopThread) -> None:
    server = SyncServer(loop)
    assert check(server.target) == SERVING
    assert server.pool._threads == set()
    server.close()


def test_somebody_elses_health_servicer_keeps_its_pool() -> None:
    with ThreadPoolExecutor(1) as theirs:
        other: Any = health.HealthServicer(experimental_thread_pool=theirs)
        server = grpc.server(theirs)
        board = add_to_server(server, identity=SERVER)
        assert other.Watch.experimental_thread_pool is theirs
        board.close()
        health.HealthServicer()


def test_ping_answers_with_status_and_sender(serve: Serve) -> None:
    server = serve(advised_interval=2.0)
    with grpc.insecure_channel(server.target) as channel:
        ping: Any = channel.unary_unary(calls.PING)
        ack = codec.decode_ack(ping(codec.encode_beat(Beat(17)), timeout=5))
        assert ack is not None
        assert (ack.sequence, ack.status, ack.sender, ack.advised_interval) == (17, ServingStatus.SERVING, SERVER, 2.0)
        server.board.set("", False)
        ack = codec.decode_ack(ping(b"\xff\xff", timeout=5))
        assert ack is not None
        assert (ack.sequence, ack.status) == (0, ServingStatus.NOT_SERVING)


def test_servers_may_share_a_board(loop: LoopThread, serve: Serve) -> None:
    board = HealthBoard()
    first, second = serve(board=board), serve(board=board)
    board.set("", False)
    wait_until(lambda: check(first.target) == check(second.target) == NOT_SERVING)
    board.close()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"advised_interval": -1.0}, ValueError),
        ({"advised_interval": "1"}, TypeError),
        ({"max_streams": 0}, ValueError),
        ({"max_streams": 1.5}, TypeError),
    ],
)
def test_bad_arguments_are_named(serve: Serve, options: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        serve(**options)
