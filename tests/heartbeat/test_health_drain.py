"""The drain: everything NOT_SERVING, a wait, and then nothing of ours that a stopping server would have to wait for."""

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
from grpc_heartbeat.core.frames import Ack, Beat, Frame, Goodbye, GoodbyeReason, Hello, ServingStatus
from grpc_heartbeat.core.health_board import END
from grpc_heartbeat.core.heartbeat_events import BeatAcked, PeerLeft, StreamFailed
from grpc_heartbeat.core.heartbeat_server import Condition, ServerSession
from grpc_heartbeat.core.steering import Steering
from grpc_heartbeat.health import HealthBoard
from grpc_heartbeat.health import watches as watches_module
from grpc_heartbeat.health.watches import SyncWatches
from grpc_heartbeat.heartbeat import calls, codec
from grpc_heartbeat.heartbeat.condition import Conditions
from grpc_heartbeat.heartbeat.held import HeldStreams
from grpc_heartbeat.heartbeat.pool import DaemonPool
from grpc_heartbeat.heartbeat.threaded_stream import ThreadedStream
from grpc_heartbeat.telemetry.server_beats import ServerBeats
from tests.heartbeat.ends import CLIENT, SERVER, STEADY, Client, Server, SyncServer
from tests.heartbeat.raw_watch import RawWatch
from tests.peers import OPTIONS, PATIENCE, LoopThread, wait_until

Serve = Callable[..., Server]
Start = Callable[..., Client]
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
GRACE = 30.0


def watch(channel: grpc.Channel, service: str = "") -> Any:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=60)


def stop(server: Any, loop: LoopThread, grace: float) -> float:
    """Stop ``server`` and return the seconds that it took."""
    started = time.monotonic()
    if isinstance(server, SyncServer):
        assert server.server.stop(grace).wait(2 * grace)
    else:
        loop.run(server.server.stop(grace))
    return time.monotonic() - started


class DeafClient:
    """A heartbeat client that says hello and then does nothing, whatever it hears."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.over = threading.Event()
        method: Any = channel.stream_stream(calls.KEEPALIVE)
        self.call = method(self._requests())

    def _requests(self) -> Any:
        yield codec.encode(Hello(CLIENT))
        yield codec.encode(Beat(1))
        self.over.wait()

    def frame(self) -> Frame | None:
        return codec.decode(next(self.call))


def test_a_server_with_watches_and_heartbeats_stops_at_once_after_a_drain(serve: Serve, loop: LoopThread) -> None:
    server = serve()
    with grpc.insecure_channel(server.target) as channel:
        watches = [watch(channel, name) for name in ("", "liveness", "nobody")]
        assert [next(one).status for one in watches] == [SERVING, SERVING, 3]
        deaf = DeafClient(channel)
        assert [type(deaf.frame()) for _ in range(2)] == [Hello, Ack]
        assert server.board.drain("update").done
        assert deaf.frame() == Goodbye(GoodbyeReason.DRAINING, "update")
        assert stop(server, loop, GRACE) < GRACE / 2
        assert list(deaf.call) == []
        assert deaf.call.code() is grpc.StatusCode.OK
        assert [[heard.status for heard in one] for one in watches] == [[NOT_SERVING], [NOT_SERVING], []]
        assert all(one.code() is grpc.StatusCode.OK for one in watches)
        deaf.over.set()


def test_until_the_probe_period_is_over_streams_live_and_say_not_serving(serve: Serve, beat: Start) -> None:
    server = serve()
    client = beat(server.target)
    client.wait("up")
    with grpc.insecure_channel(server.target) as channel:
        before = watch(channel)
        assert next(before).status == SERVING
        drain = server.board.drain("update", probe_period=60)
        assert (server.board.draining, server.board.leaving) == ("update", None)
        assert next(before).status == next(watch(channel, "readiness")).status == NOT_SERVING
        wait_until(lambda: client.snapshot().serving is ServingStatus.NOT_SERVING)
        assert not drain.wait(0.05)
        assert client.of(PeerLeft) == []
        assert server.board.drain("again") is drain  # at once now, and with the first reason
        assert drain.wait(PATIENCE)
        assert server.board.leaving == "update"
        (left,) = client.wait_for(PeerLeft)
        assert (left.reason, left.message) == (GoodbyeReason.DRAINING, "update")
        assert list(before) == []


def test_a_reason_that_utf8_cannot_hold_reaches_the_clients(serve: Serve, beat: Start) -> None:
    server = serve()
    client = beat(server.target)
    client.wait("up")
    server.board.drain("update \udc80")
    assert client.wait_for(PeerLeft)[0].message == "update ?"
    with pytest.raises(TypeError, match="reason must be a string, not int"):
        server.board.drain(5)  # type: ignore[arg-type]  # the point of the test


def test_the_probe_period_ends_by_itself_and_a_longer_one_changes_nothing(serve: Serve) -> None:
    board = HealthBoard()
    left: list[str] = []
    board.on_leave(left.append)
    started = time.monotonic()
    drain = board.drain("update", probe_period=0.2)
    board.drain(probe_period=60)
    assert left == []
    assert drain.wait(PATIENCE)
    assert 0.2 <= time.monotonic() - started < PATIENCE
    board.on_leave(left.append)
    assert left == ["update", "update"]


def test_what_is_said_during_a_drain_is_refused() -> None:
    board = HealthBoard()
    assert board.set("orders", True)
    board.drain()
    before = board.statuses()
    assert set(before.values()) == {ServingStatus.NOT_SERVING}
    assert not board.set("orders", True)
    assert not board.set("new", True)
    board.add_check("database", lambda: True)
    assert board.statuses() == before
    assert board.checks() == {}


def test_closing_the_board_ends_a_probe_period() -> None:
    board = HealthBoard()
    drain = board.drain(probe_period=60)
    board.close()
    assert drain.done


@pytest.mark.internal_faults
def test_a_hook_that_raises_keeps_nobody_waiting() -> None:
    board = HealthBoard()
    board.on_drain(lambda reason: 1 / 0)
    board.on_leave(lambda reason: 1 / 0)
    assert board.drain().wait(0)


@pytest.mark.parametrize(("period", "error"), [(-1, ValueError), ("1", TypeError), (float("nan"), ValueError)])
def test_a_bad_probe_period_drains_nothing(period: Any, error: type[Exception]) -> None:
    board = HealthBoard()
    with pytest.raises(error, match="probe_period must be"):
        board.drain(probe_period=period)
    assert board.draining is None


async def test_a_drain_is_awaited_without_stopping_the_loop() -> None:
    server = grpc.aio.server(options=OPTIONS)
    board = hb.aio.add_to_server(server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        call = stub.Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert (await call.read()).status == SERVING
        drain = board.drain(probe_period=0.1)
        impatient = asyncio.ensure_future(asyncio.wait_for(drain, 0.001))
        assert (await call.read()).status == NOT_SERVING
        with pytest.raises(asyncio.TimeoutError):
            await impatient
        await drain
        await drain
        assert await call.read() is grpc.aio.EOF
        started = time.monotonic()
        await server.stop(GRACE)
        assert time.monotonic() - started < GRACE / 2
    board.close()


def test_who_watches_after_the_end_is_refused_without_a_status(serve: Serve) -> None:
    """Else gRPC's own client would ask again at once, and again: it backs off only if it heard nothing."""
    server = serve()
    with grpc.insecure_channel(server.target) as channel:
        assert next(watch(channel)).status == SERVING
        server.board.drain()
        late = watch(channel)
        with pytest.raises(grpc.RpcError, match="this server left service; watch another one"):
            next(late)
        assert late.code() is grpc.StatusCode.UNAVAILABLE


def test_a_client_that_beats_after_the_end_hears_hello_and_goodbye(serve: Serve) -> None:
    server = serve()
    server.board.drain("update")
    with grpc.insecure_channel(server.target) as channel:
        deaf = DeafClient(channel)
        frames = [codec.decode(data) for data in deaf.call]
        assert isinstance(frames[0], Hello)
        assert frames[-1] == Goodbye(GoodbyeReason.DRAINING, "update")
        deaf.over.set()


def test_watchers_come_and_go_while_statuses_change_and_the_board_drains(serve: Serve) -> None:
    server, stop_now = serve(), threading.Event()
    wrong: list[object] = []

    def come_and_go() -> None:
        with grpc.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            while not stop_now.is_set():
                one = watch(channel, "orders")
                heard: list[int] = []
                try:
                    heard += [next(one).status for _ in range(2)]
                    one.cancel()
                except StopIteration:
                    pass
                except grpc.RpcError as error:
                    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                        wrong.append(error)
                if len(heard) == 2 and heard[0] == heard[1]:
                    wrong.append(heard)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(500):
        server.board.set("orders", number % 2 == 0)
        threading.Event().wait(0.001)
    server.board.drain()
    threading.Event().wait(0.1)
    stop_now.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert wrong == []


def test_a_client_that_reads_nothing_does_not_hold_a_drained_server(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpc_heartbeat.health.watches.PATIENCE", 0.1)
    server = SyncServer(loop)
    stuck = RawWatch(server.target)
    stuck.wait_for_headers()
    server.board.drain()
    answering = threading.Thread(target=stuck.answer_until_closed, daemon=True)  # GOAWAY waits for the answer to a PING
    answering.start()
    assert stop(server, loop, GRACE) < GRACE / 2
    answering.join(PATIENCE)
    stuck.close()
    server.close()


def test_a_drain_under_beats_loses_none_to_a_broken_stream(serve: Serve, beat: Start) -> None:
    """The goodbye races with the answers; whoever wins, the stream ends cleanly and the client says that the peer left."""
    for _ in range(5):
        server = serve()
        clients = [beat(server.target, STEADY) for _ in range(5)]
        for client in clients:
            client.wait_for(BeatAcked)
        server.board.drain("update")
        for client in clients:
            assert client.wait_for(PeerLeft)[0].message == "update"
            client.stop()
            first = next(event for event in client.events if isinstance(event, PeerLeft | StreamFailed))
            assert isinstance(first, PeerLeft), first


def test_a_signal_handler_may_drain_in_the_middle_of_anything() -> None:
    """The thread that tells a watcher is interrupted while it holds the lock of the watches."""
    board = HealthBoard()

    class Interrupted:
        def submit(self, *work: Any) -> None:
            board.drain("SIGTERM")

    context: Any = grpc.ServicerContext
    watches = SyncWatches(board, Interrupted(), {})  # type: ignore[arg-type]  # stands in for the pool
    watch = watches_module._Watch(context)
    watch.start = lambda: Interrupted().submit()
    watches._table.add("", watch, ServingStatus.SERVING)
    assert watch.take() == SERVING
    assert watch.take() is None
    board.set("", False)
    assert board.leaving == "SIGTERM"
    assert watch.take() == NOT_SERVING
    assert watch.take() is END


def test_a_signal_handler_may_drain_while_listeners_are_told() -> None:
    board = HealthBoard()
    board.set("orders", False)
    heard: list[tuple[str, ServingStatus]] = []

    def interrupted(service: str, status: ServingStatus) -> None:
        if (service, status) == ("orders", ServingStatus.SERVING):
            board.drain("SIGTERM")

    board.listen(interrupted)
    board.listen(lambda service, status: heard.append((service, status)))
    heard.clear()
    board.set("orders", True)
    assert ("orders", ServingStatus.SERVING) not in heard
    assert set(heard) == {(service, ServingStatus.NOT_SERVING) for service in board.statuses()}


def test_a_signal_handler_may_drain_while_an_answer_is_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    board = HealthBoard()
    conditions = Conditions(board, None, Steering())
    asked = board.status

    def interrupted(service: str = "") -> ServingStatus:
        status = asked(service)
        if board.draining is None:
            board.drain("SIGTERM")
        return status

    monkeypatch.setattr(board, "status", interrupted)
    first = threading.Thread(target=conditions, daemon=True)
    first.start()
    first.join(PATIENCE)
    assert not first.is_alive()
    assert conditions() == Condition(ServingStatus.NOT_SERVING, draining="SIGTERM")


class Recorder:
    """A stream's ``send`` and context, as gRPC would hand them over."""

    def __init__(self) -> None:
        self.sent: list[Frame | None] = []
        self.session = ServerSession(SERVER)
        context: Any = self
        self.pool = DaemonPool(1, "parting")
        held = HeldStreams(HealthBoard(), SERVER, ServerBeats(SERVER), "threads", max_streams=1)
        self.stream = ThreadedStream(held, self.session, context, self.send, self.pool)

    def cancel(self) -> None:
        raise AssertionError("nothing blocks here")

    def set_code(self, code: grpc.StatusCode) -> None:
        assert code is grpc.StatusCode.OK

    def set_details(self, details: str) -> None:
        assert details == ""

    def send(self, data: bytes | None) -> None:
        self.sent.append(None if data is None else codec.decode(data))


def test_a_goodbye_greets_parts_and_ends_once() -> None:
    peer = Recorder()
    peer.stream.part("update")
    peer.stream.part("update")
    peer.stream.finish(iter([b"a beat that crossed the goodbye"]))
    peer.stream.send(codec.encode(Ack(1)))
    peer.stream.end()
    peer.stream.close()
    assert peer.sent == [Hello(SERVER), Goodbye(GoodbyeReason.DRAINING, "update"), None]


def test_a_client_that_does_not_end_its_side_has_a_moment() -> None:
    peer = Recorder()
    peer.stream.part("update")
    assert peer.sent[-1] is not None
    wait_until(lambda: peer.sent[-1] is None)
    peer.stream.close()
    peer.pool.shutdown()


def test_a_goodbye_that_the_answering_thread_has_in_hand_is_left_to_it() -> None:
    peer = Recorder()
    answers = peer.session.receive(Beat(1), 0.0, Condition(draining="update"))
    peer.stream.part("update")
    assert peer.sent == []
    for answer in answers:
        peer.stream.send(codec.encode(answer))
    peer.stream.finish(iter(()))
    peer.stream.close()
    assert isinstance(peer.sent[-2], Goodbye)
    assert peer.sent[-1] is None
