"""Dependency checks as they really run: on threads, on the loop, hanging, failing, and never in a request's way."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import grpc_heartbeat as hb
from grpc_heartbeat.core.frames import ServingStatus
from grpc_heartbeat.health import HealthBoard
from tests.heartbeat.ends import Server
from tests.peers import OPTIONS, PATIENCE, wait_until

Serve = Callable[..., Server]
SERVING, NOT_SERVING, UNKNOWN = ServingStatus.SERVING, ServingStatus.NOT_SERVING, ServingStatus.UNKNOWN


@pytest.fixture
def board() -> Any:
    board = HealthBoard()
    yield board
    board.close()


def check_rpc(target: str, service: str = "") -> int:
    with grpc.insecure_channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE).status)


def test_a_critical_check_counts_for_the_whole_and_for_readiness(board: HealthBoard) -> None:
    well = threading.Event()
    go = threading.Event()

    def database() -> bool:
        go.wait()
        return well.is_set()

    board.add_check("database", database, ttl=0.02)
    assert {board.status(name) for name in ("", "readiness")} == {UNKNOWN}
    go.set()
    wait_until(lambda: board.status() is NOT_SERVING)
    assert board.status("readiness") is NOT_SERVING
    assert board.status("liveness") is SERVING
    assert board.checks()["database"].error == "the check returned False"
    well.set()
    wait_until(lambda: board.status() is SERVING)
    assert board.status("readiness") is SERVING


def test_a_check_that_is_not_critical_only_reports(board: HealthBoard) -> None:
    board.add_check("cache", lambda: False, critical=False)
    wait_until(lambda: board.checks()["cache"].status is NOT_SERVING)
    assert set(board.statuses().values()) == {SERVING}


def test_a_check_counts_for_the_services_that_it_names(board: HealthBoard) -> None:
    board.add_check("stock database", lambda: False, services=["stock"])
    board.add_check("deadlock detector", lambda: False, services=["liveness"])
    wait_until(lambda: board.status("stock") is board.status("liveness") is NOT_SERVING)
    board.set("stock", True)
    assert board.status("stock") is NOT_SERVING
    board.remove_check("stock database")
    board.remove_check("stock database")
    assert board.status("stock") is SERVING
    assert board.status("") is NOT_SERVING
    board.remove_check("deadlock detector")
    assert board.status("") is SERVING


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, ""),
        (True, ""),
        (ServingStatus.SERVING, ""),
        (False, "the check returned False"),
        (ServingStatus.UNKNOWN, "the check returned <ServingStatus.UNKNOWN: 0>"),
        (1, "a check returns None, a boolean or a ServingStatus, not int"),
        (ConnectionError("refused"), "ConnectionError: refused"),
        (ValueError(), "ValueError"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_what_an_answer_means(board: HealthBoard, answer: Any, error: str) -> None:
    def check() -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    board.add_check("it", check)
    wait_until(lambda: board.checks()["it"].at is not None)
    report = board.checks()["it"]
    assert (report.status, report.error) == (NOT_SERVING if error else SERVING, error)


def test_a_check_that_hangs_is_a_failure_holds_up_nobody_and_is_not_piled_up(serve: Serve) -> None:
    server, release, threads = serve(), threading.Event(), []

    def hang() -> None:
        threads.append(threading.current_thread())
        release.wait()

    server.board.add_check("stuck", hang, ttl=0.02, timeout=0.05, services=["orders"])
    server.board.add_check("well", lambda: None, ttl=0.02)
    assert check_rpc(server.target, "orders") in (UNKNOWN, NOT_SERVING)
    wait_until(lambda: server.board.status("orders") is NOT_SERVING)
    assert server.board.checks()["stuck"].error == "no answer within 0.05 s"
    before = server.board.checks()["well"].runs
    wait_until(lambda: server.board.checks()["well"].runs >= before + 3)
    assert len(threads) == 1
    assert check_rpc(server.target, "orders") == NOT_SERVING
    release.set()
    wait_until(lambda: server.board.status("orders") is SERVING)
    server.board.close()


def test_a_check_that_no_thread_was_left_for_is_run_again(board: HealthBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", no_thread)
        board.add_check("database", lambda: None, ttl=0.02, timeout=0.05)
        assert board.checks()["database"].error == "RuntimeError: can't start new thread"
    wait_until(lambda: board.status() is SERVING)


def test_requests_read_the_last_result_and_run_no_check(serve: Serve) -> None:
    server, runs = serve(), []
    server.board.add_check("database", lambda: runs.append(1), ttl=60)
    wait_until(lambda: server.board.status() is SERVING)
    assert [check_rpc(server.target) for _ in range(5)] == [SERVING] * 5
    assert runs == [1]
    server.board.close()


async def test_a_coroutine_function_runs_on_the_loop_it_was_added_on(board: HealthBoard) -> None:
    seen: list[tuple[asyncio.AbstractEventLoop, float | None]] = []

    async def check() -> None:
        seen.append((asyncio.get_running_loop(), hb.deadline.remaining()))

    def returns_a_coroutine() -> Any:
        return check()

    with hb.deadline.limit(60):
        board.add_check("coroutine function", check, ttl=60)
        board.add_check("its call", returns_a_coroutine, ttl=60)
        await asyncio.to_thread(wait_until, lambda: board.status() is SERVING)
    assert seen == [(asyncio.get_running_loop(), None)] * 2


def test_a_coroutine_function_without_a_loop_gets_its_own(board: HealthBoard) -> None:
    async def check() -> bool:
        await asyncio.sleep(0)
        return True

    board.add_check("database", check)
    wait_until(lambda: board.status() is SERVING)


async def test_a_coroutine_that_takes_too_long_is_cancelled(board: HealthBoard) -> None:
    cancelled = asyncio.Event()

    async def check() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    board.add_check("database", check, timeout=0.02, ttl=60)
    await asyncio.wait_for(cancelled.wait(), PATIENCE)
    assert board.checks()["database"].error == "no answer within 0.02 s"


async def test_a_coroutine_that_the_loop_had_no_time_for_is_not_begun_too_late(board: HealthBoard) -> None:
    begun: list[int] = []

    async def check() -> None:
        begun.append(board.checks()["peer"].runs)
        if blocked:
            await asyncio.Event().wait()

    def hear(service: str, status: ServingStatus) -> None:
        if (service, status) == ("", SERVING):
            loop.call_soon_threadsafe(well.set)

    loop, well, blocked = asyncio.get_running_loop(), asyncio.Event(), False
    board.add_check("peer", check, ttl=0.02, timeout=0.05)
    board.listen(hear)
    await asyncio.wait_for(well.wait(), PATIENCE)
    blocked = True
    wait_until(lambda: board.status() is NOT_SERVING)  # blocks the loop, which is the subject
    late = board.checks()["peer"].runs
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    well.clear()
    blocked = False
    await asyncio.wait_for(well.wait(), PATIENCE)
    assert late not in begun


def test_a_coroutine_on_its_own_loop_that_takes_too_long_is_cancelled(board: HealthBoard) -> None:
    cancelled = threading.Event()

    async def check() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    board.add_check("database", check, timeout=0.02, ttl=60)
    assert cancelled.wait(PATIENCE)
    wait_until(lambda: board.checks()["database"].status is NOT_SERVING)


async def test_closing_the_board_cancels_what_runs_on_the_loop(board: HealthBoard) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def check() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    board.add_check("database", check, timeout=60)
    await asyncio.wait_for(started.wait(), PATIENCE)
    board.close()
    await asyncio.wait_for(cancelled.wait(), PATIENCE)


def test_a_drain_stops_the_checks(board: HealthBoard) -> None:
    runs: list[float] = []
    board.add_check("database", lambda: runs.append(time.monotonic()), ttl=0.01)
    wait_until(lambda: len(runs) > 3)
    board.drain()
    seen = board.checks()["database"].runs
    time.sleep(0.05)  # sleep: nothing is to happen
    assert board.checks()["database"].runs <= seen + 1
    assert board.status() is NOT_SERVING


def test_failures_in_a_row_are_needed_where_asked_for(board: HealthBoard) -> None:
    answers = iter([True, False, False, True, False, False, False])
    heard: list[ServingStatus] = []
    board.listen(lambda service, status: heard.append(status) if service == "" else None)
    board.add_check("flaky", lambda: next(answers, False), ttl=0.01, failures=3)
    wait_until(lambda: board.status() is NOT_SERVING)
    assert heard == [SERVING, UNKNOWN, SERVING, NOT_SERVING]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"name": 1}, TypeError, "name must be a string, not int"),
        ({"check": True}, TypeError, "check must be a function without arguments, not bool"),
        ({"ttl": 0}, ValueError, "ttl must be more than 0"),
        ({"timeout": "2"}, TypeError, "timeout must be a number of seconds"),
        ({"critical": 1}, TypeError, "critical must be a boolean, not int"),
        ({"failures": 0}, ValueError, "failures must be at least 1; got 0"),
        ({"failures": 1.0}, TypeError, "failures must be an integer, not float"),
        ({"services": "orders"}, TypeError, r"services must be several names, as in \('orders',\)"),
        ({"services": [1]}, TypeError, "services must be a string, not int"),
        ({"services": ["\udc80"]}, ValueError, "services must be text that UTF-8 can hold"),
        ({"services": []}, ValueError, "services must name at least one service"),
        ({"name": "taken"}, ValueError, "there is a check named 'taken' already"),
    ],
)
def test_bad_arguments_are_named(board: HealthBoard, options: Any, error: type[Exception], message: str) -> None:
    board.add_check("taken", lambda: True, ttl=60)
    with pytest.raises(error, match=message):
        board.add_check(**{"name": "it", "check": lambda: True, **options})
    with pytest.raises(TypeError, match="service must be a string, not bytes"):
        board.set(b"orders", True)  # type: ignore[arg-type]  # the point of the test


async def test_a_check_on_an_asyncio_server_may_use_its_loop_and_reaches_a_watcher() -> None:
    server = grpc.aio.server(options=OPTIONS)
    board = hb.aio.add_to_server(server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    well = asyncio.Event()
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)

        async def peer() -> bool:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service="liveness"))
            return answer.status == SERVING and well.is_set()

        board.add_check("a peer", peer, ttl=0.02)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        while (await watch.read()).status != NOT_SERVING:
            pass
        well.set()
        assert (await watch.read()).status == SERVING
        board.close()
        watch.cancel()
    await server.stop(None)
