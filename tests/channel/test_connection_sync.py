"""The connection that calls wait for, and gRPC's own limits for one attempt to make it."""

from __future__ import annotations

import gc
import socket
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from time import monotonic
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts, _grpcio
from grpc_heartbeat.channel import connection as connection_module
from grpc_heartbeat.channel.connection import NOWHERE, Connection
from grpc_heartbeat.channel.make import connect_options
from tests.channel import dead_ends
from tests.peers import OPTIONS, PATIENCE, SyncServer, handlers, path, wait_until

both_seams = pytest.mark.parametrize("public_api_only", [False, True], ids=["seam", "public api"])


class Told:
    """A call that waits."""

    def __init__(self) -> None:
        self.times = 0

    def connected(self) -> None:
        self.times += 1


def test_options_are_left_alone_without_a_connect_limit() -> None:
    assert connect_options(None, None) is None
    assert connect_options((("a", 1),), None) == [("a", 1)]


def test_the_users_own_options_stand() -> None:
    wanted = connect_options([("grpc.min_reconnect_backoff_ms", 7), ("a", 1), ("a", 2)], 3.0)
    assert wanted == [
        ("grpc.min_reconnect_backoff_ms", 7),
        ("a", 1),
        ("a", 2),
        ("grpc.initial_reconnect_backoff_ms", 1000),
        ("grpc.dns_ares_query_timeout", 3350),
    ]


def test_the_largest_limit_fits_what_grpc_takes() -> None:
    assert [value for _, value in connect_options(None, 1e8) or ()] == [2**31 - 1, 1000, 2**31 - 1]


def test_grpc_gives_up_a_dead_attempt_soon_after_the_limit() -> None:
    """Left alone it would wait for the dead peer for 20 s, whoever has come in its place."""
    dead = socket.create_server(("127.0.0.1", 0))
    port = dead.getsockname()[1]
    with grpc_heartbeat.insecure_channel(f"127.0.0.1:{port}", timeouts=Timeouts(connect=0.2)) as channel:
        call: Any = channel.unary_unary(path("UnaryUnary"))
        waiting = call.future(b"x", wait_for_ready=True)
        held, _ = dead.accept()
        dead.close()
        assert waiting.exception(PATIENCE).timeout.layer == "connect"
        with ThreadPoolExecutor(1) as pool, closing(held):
            server = grpc.server(pool, options=OPTIONS)
            server.add_generic_rpc_handlers((handlers({"UnaryUnary": lambda request, context: request}),))
            assert server.add_insecure_port(f"127.0.0.1:{port}") == port
            server.start()
            with grpc_heartbeat.timeouts(connect=PATIENCE):
                assert call(b"x", wait_for_ready=True) == b"x"
            server.stop(None).wait(PATIENCE)


@pytest.mark.skipif(not _grpcio.usable(), reason="the state of a synchronous channel cannot be looked at")
def test_a_connection_whose_call_has_ended_before_anybody_looked_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_LOOK_EVERY", 3600.0)
    server = SyncServer({"UnaryUnary": lambda request, context: request})
    with grpc.insecure_channel(server.target) as channel:
        connection, heartbeat, quick = Connection(channel), Told(), Told()
        connection.made = weakref.WeakMethod(heartbeat.connected)
        connection.wait(quick)
        connection.leave(quick)
        assert heartbeat.times == 0
        connection.wait(quick)
        grpc.channel_ready_future(channel).result(PATIENCE)
        connection.leave(quick)
        connection.leave(quick)
        assert (heartbeat.times, quick.times) == (1, 0)
        connection.close()
    server.close()


@both_seams
def test_who_waits_is_told_once_and_the_watch_ends(monkeypatch: pytest.MonkeyPatch, public_api_only: bool) -> None:
    monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", public_api_only)
    server = SyncServer({"UnaryUnary": lambda request, context: request})
    with grpc.insecure_channel(server.target) as channel:
        connection = Connection(channel)
        first, second, gone = Told(), Told(), Told()
        for call in (first, second, gone):
            connection.wait(call)
        connection.leave(gone)
        assert not connection.ready()
        grpc.channel_ready_future(channel).result(PATIENCE)
        wait_until(lambda: first.times and second.times)
        late = Told()
        connection.wait(late)
        wait_until(lambda: late.times)
        connection.leave(late)
        assert (first.times, second.times, gone.times, late.times) == (1, 1, 0, 1)
        assert connection.state() == "READY"
        assert connection.ready() is not public_api_only  # it cannot be looked at by public API
        connection.close()
    assert connection.ready()  # calls of a closed channel end by themselves
    assert connection.state() == ("READY" if public_api_only else "SHUTDOWN")
    server.close()


@both_seams
def test_why_there_is_no_connection_is_asked_once_for_all(
    monkeypatch: pytest.MonkeyPatch, public_api_only: bool
) -> None:
    monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", public_api_only)
    asked: list[str] = []
    with dead_ends.refused() as target, grpc.insecure_channel(target) as channel:
        original = channel.unary_unary
        monkeypatch.setattr(channel, "unary_unary", lambda method: (asked.append(method), original(method))[1])  # type: ignore[func-returns-value]
        connection = Connection(channel)
        answers: list[str | None] = []
        for _ in range(5):
            connection.ask(answers.append)
        wait_until(lambda: len(answers) == 5)
        assert len(asked) < 5
        assert all("refused" in (answer or "") for answer in answers)
        assert connection.last_error == answers[0]


def test_a_closed_channel_has_nothing_to_say() -> None:
    channel = grpc.insecure_channel("127.0.0.1:1")
    connection = Connection(channel)
    channel.close()
    answers: list[str | None] = []
    connection.ask(answers.append)
    assert answers == [None]
    NOWHERE.ask(answers.append)
    assert answers == [None, None]


def test_a_question_that_finds_a_connection_tells_those_who_wait() -> None:
    server = SyncServer({"UnaryUnary": lambda request, context: request})
    with grpc.insecure_channel(server.target) as channel:
        connection = Connection(channel)
        waiting = Told()
        connection._waiting.add(waiting)  # not by ``wait``, which would find the connection itself
        answered = threading.Event()
        grpc.channel_ready_future(channel).result(PATIENCE)
        connection.ask(lambda _: answered.set())
        assert answered.wait(PATIENCE)
        assert waiting.times == 1
    server.close()


def test_connection_errors_of_the_applications_calls_are_remembered() -> None:
    connection = Connection(grpc.insecure_channel("127.0.0.1:1"))
    connection.remember(None)
    connection.remember("out of stock")
    assert connection.last_error is None
    connection.remember("failed to connect to all addresses; last error: UNKNOWN: nobody there")
    assert connection.last_error == "UNKNOWN: nobody there"


def test_closing_waits_for_grpcios_watch_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its thread dies of an exception, now and then."""
    monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", True)
    with dead_ends.silent() as target, grpc.insecure_channel(target) as channel:
        connection = Connection(channel)
        call = Told()
        connection.wait(call)
        began = monotonic()
        connection.close()
        assert monotonic() - began > 0.2  # grpcio looks five times a second whether anybody listens
        began = monotonic()
        connection.close()
        assert monotonic() - began < 0.2
    assert call.times == 0


class Collecting(Told):
    """A call whose hash, which the connection wants, takes a garbage collection."""

    def __hash__(self) -> int:
        gc.collect()
        return 1


def test_a_dropped_call_that_is_found_while_the_connection_is_busy_is_forgotten_there() -> None:
    """The collector runs in any thread, also in one that is just about to wait for the same connection."""
    with grpc_heartbeat.insecure_channel("127.0.0.1:1", timeouts=Timeouts(connect=PATIENCE)) as channel:
        call: Any = channel.unary_stream(path("UnaryStream"))(b"", wait_for_ready=True)
        knot: list[Any] = [call]
        knot.append(knot)
        del call, knot
        told = Collecting()
        waiting = threading.Thread(target=channel.connection.wait, args=(told,), daemon=True)
        waiting.start()
        waiting.join(PATIENCE)
        assert not waiting.is_alive()
        channel.connection.leave(told)
