"""Clients that misbehave, on real sockets: each limit of a server's heartbeat streams, in both stacks and with every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from grpc_heartbeat import StreamLimits, debug
from grpc_heartbeat.core import stream_limits
from grpc_heartbeat.core.frames import GOODBYE_KEY, Ack, Beat, Goodbye, Hello, ServingStatus
from grpc_heartbeat.core.held_events import ClientLost
from grpc_heartbeat.heartbeat import calls, codec
from grpc_heartbeat.heartbeat.held import HeldStreams
from tests.heartbeat.ends import CLIENT, Server
from tests.heartbeat.raw_client import RawClient
from tests.peers import PATIENCE, wait_until
from tests.seams import PUBLIC_API_ONLY

Serve = Callable[..., Server]
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
def connect() -> Iterator[Callable[..., RawClient]]:
    clients: list[RawClient] = []

    def start(*args: Any, **options: Any) -> RawClient:
        clients.append(RawClient(*args, **options))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


Connect = Callable[..., RawClient]


def held_by(server: Server) -> HeldStreams:
    (held,) = server.board.heartbeats
    return held


@pytest.mark.internal_faults
def test_a_stream_that_fails_gives_its_place_back(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    monkeypatch.setattr(held_by(server), "condition", lambda: 1 / 0)
    client = connect(server.target)
    client.put(Hello(CLIENT))
    assert client.end()[0] is not grpc.StatusCode.OK
    wait_until(lambda: held_by(server).report().streams == 0)


def test_clients_that_cancel_at_once_hold_no_places(serve: Serve) -> None:
    server = serve()
    beats = [codec.encode(Beat(number)) for number in range(1, 20)]
    with grpc.insecure_channel(server.target) as channel:
        method: Any = channel.stream_stream(calls.KEEPALIVE)
        for _ in range(100):
            method(iter(beats), timeout=PATIENCE).cancel()
        wait_until(lambda: held_by(server).report().streams == 0)


def test_one_host_holds_so_many_streams_and_no_more(serve: Serve, connect: Connect) -> None:
    server = serve(limits=StreamLimits(per_host=2))
    first, second = connect(server.target), connect(server.target)
    first.greet()
    second.greet()
    third = connect(server.target)
    third.put(Hello(CLIENT))
    code, details = third.end()
    assert code is EXHAUSTED
    assert "ipv4:127.0.0.1" in details
    assert "StreamLimits.per_host" in details
    first.close()
    wait_until(lambda: held_by(server).report().streams == 1)
    connect(server.target).greet()
    assert held_by(server).report().refused == 1


def test_a_stream_with_too_much_metadata_is_refused(serve: Serve, connect: Connect) -> None:
    server = serve(limits=StreamLimits(metadata_bytes=1_000))
    connect(server.target, metadata=(("small", "x" * 100),)).greet()
    client = connect(server.target, metadata=(("large", "x" * 1_000),))
    code, details = client.end()
    assert code is EXHAUSTED
    assert "StreamLimits.metadata_bytes" in details
    wait_until(lambda: held_by(server).report().refused == 1)


def test_a_frame_that_is_too_large_is_not_read_and_ends_its_stream(serve: Serve, connect: Connect) -> None:
    server = serve()
    client = connect(server.target)
    client.greet()
    client.put(b"\x0a" + b"x" * 5_000)
    code, details = client.end()
    assert code is EXHAUSTED
    assert "5001 bytes" in details
    wait_until(lambda: held_by(server).report().cut == 1)
    assert held_by(server).report().oversized == 1
    wait_until(lambda: held_by(server).report().streams == 0)


def test_frames_of_unknown_kind_are_counted_and_ignored(serve: Serve, connect: Connect) -> None:
    server = serve(load=None)
    client = connect(server.target)
    client.greet()
    client.put(b"\x7a\x03new", b"garbage", b"")
    assert client.beat(1) == Ack(1, ServingStatus.SERVING)
    client.close()
    wait_until(lambda: held_by(server).report().unexpected == 3)


def test_a_client_that_beats_too_fast_is_advised_and_then_ended(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_limits.Pace, "WINDOW", 3600.0)  # any pace of this machine is too fast
    monkeypatch.setattr(stream_limits.Pace, "PATIENCE", 0.2)
    server = serve(limits=StreamLimits(beats_per_second=2), load=None)
    client = connect(server.target)
    client.greet()
    advised: list[float] = []
    for number in range(1, 100_000):
        client.put(Beat(number))
        try:
            answer = client.frame()
        except grpc.RpcError:
            break
        assert isinstance(answer, Ack)
        advised.append(answer.advised_interval)
    assert advised[0] == 0
    assert max(advised) > 0
    code, details = client.end()
    assert code is EXHAUSTED
    assert "advised_interval_millis" in details
    wait_until(lambda: held_by(server).report().cut == 1)


@pytest.mark.parametrize("promise", [0.0, 30.0])
def test_a_client_that_reads_nothing_is_cut(serve: Serve, connect: Connect, promise: float) -> None:
    limits = StreamLimits(beats_per_second=10_000_000, unread=0.3)
    server = serve(limits=limits)
    lost: list[Any] = []
    held_by(server).observers.add(lambda event: lost.append(event) if isinstance(event, ClientLost) else None)
    client = connect(server.target, options=[("grpc.http2.lookahead_bytes", 256), ("grpc.http2.bdp_probe", 0)])
    client.put(Hello(CLIENT))
    for number in range(8_000):
        client.put(Beat(number, next_within=promise))
    wait_until(lambda: lost, 30)
    assert lost[0].cause == "unread"
    assert lost[0].peer == CLIENT
    held = held_by(server)
    if held.report().engine.startswith("asyncio"):  # grpc.aio cannot end such an RPC: it keeps its place
        assert held.report().streams == 1
        client.close()
    wait_until(lambda: held.report().streams == 0)


def test_a_goodbye_is_in_the_trailing_metadata_for_those_that_read_it_there(serve: Serve, connect: Connect) -> None:
    server = serve()
    client = connect(server.target, metadata=((GOODBYE_KEY, b""),))
    client.greet()
    assert isinstance(client.beat(1, 30.0), Ack)
    server.board.drain("update")
    frames = list(client.rest())
    assert client.call.code() is grpc.StatusCode.OK
    trailing = dict(client.call.trailing_metadata())
    said = frames or [codec.decode(trailing[GOODBYE_KEY])]
    assert [frame.message for frame in said if isinstance(frame, Goodbye)] == ["update"]


def test_a_quick_client_hears_the_goodbye_with_its_next_answer(serve: Serve, connect: Connect) -> None:
    server = serve()
    client = connect(server.target)
    client.greet()
    for number in range(1, 4):
        assert isinstance(client.beat(number, 30.0), Ack)
    server.board.drain("update")
    client.put(Beat(4, next_within=30.0))
    frames = list(client.rest())
    assert [frame.message for frame in frames if isinstance(frame, Goodbye)] == ["update"]
    assert client.call.code() is grpc.StatusCode.OK


def test_a_quick_client_that_has_stopped_is_let_go_by_a_drain(serve: Serve, connect: Connect) -> None:
    server = serve()
    client = connect(server.target)
    client.greet()
    for number in range(1, 4):
        assert isinstance(client.beat(number, 30.0), Ack)
    server.board.drain("update")
    assert client.end()[0] is grpc.StatusCode.OK
    wait_until(lambda: held_by(server).report().streams == 0)


def test_what_a_server_holds_can_be_listed(serve: Serve, connect: Connect) -> None:
    server = serve()
    connect(server.target).greet()
    wait_until(lambda: held_by(server).report().streams == 1)
    report = held_by(server).report()
    assert report in debug.held_heartbeats()
    assert (report.opened, report.refused, report.cut) == (1, 0, 0)
    by_public_api = server.public or PUBLIC_API_ONLY
    assert report.engine in (("threads", "asyncio") if by_public_api else ("completions", "asyncio joined"))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"per_host": 0}, ValueError),
        ({"beats_per_second": 1.5}, TypeError),
        ({"frame_bytes": 100}, ValueError),
        ({"metadata_bytes": True}, TypeError),
        ({"unread": 0}, ValueError),
    ],
)
def test_limits_are_checked(wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(wrong))):
        StreamLimits(**wrong)
