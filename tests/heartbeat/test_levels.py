"""Heartbeats with peers that know none: their health service, or whether they answer at all; between real ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as aio_health

import grpc_heartbeat
from grpc_heartbeat.config import BreakerPolicy, HeartbeatPolicy
from grpc_heartbeat.core import levels
from grpc_heartbeat.core.frames import ServingStatus
from grpc_heartbeat.core.heartbeat_events import BeatAcked, LevelChanged, ServingTold, StreamClosed, StreamFailed
from grpc_heartbeat.core.levels import Level
from grpc_heartbeat.health import HealthBoard
from grpc_heartbeat.heartbeat.health_services import SERVICE, sync_handlers
from grpc_heartbeat.heartbeat.pool import DaemonPool
from tests.heartbeat.ends import CLIENTS, QUICK, AioServer, Client, Server, SyncServer
from tests.heartbeat.relay import Relay
from tests.peers import OPTIONS, PATIENCE, LoopThread, wait_until

Beat = Callable[..., Client]
BELOW = [Level.WATCH, Level.CHECK, Level.TRANSPORT]
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
HEALTH: dict[str, Any] = {
    "request_deserializer": health_pb2.HealthCheckRequest.FromString,
    "response_serializer": health_pb2.HealthCheckResponse.SerializeToString,
}


class Peer:
    """A server whose best level is ``level``, or of other handlers."""

    def __init__(self, level: Level, handlers: dict[str, Any] | None = None) -> None:
        self.board = HealthBoard()
        self._workers = ThreadPoolExecutor(4)
        self._checks = DaemonPool(2, "checks")
        self._server = grpc.server(self._workers, options=OPTIONS)
        served: dict[str, Any] = dict(sync_handlers(self.board, self._checks)) if handlers is None else handlers
        if level is Level.CHECK:
            served = {"Check": served["Check"]}
        if level is not Level.TRANSPORT:
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, served),))
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        self._server.stop(None).wait(PATIENCE)
        self.board.close()
        self._checks.shutdown()
        self._workers.shutdown()


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    made = Peer(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("peer", BELOW, indirect=True)
def test_a_peer_is_asked_as_well_as_it_knows(peer: Peer, beat: Beat, request: pytest.FixtureRequest) -> None:
    level = request.node.callspec.params["peer"]
    client = beat(peer.target, QUICK)
    client.wait_for(BeatAcked, 3)
    known = client.snapshot()
    assert (known.level, known.state, known.failures) == (level, "up", 0)
    assert known.serving is (ServingStatus.UNKNOWN if level is Level.TRANSPORT else ServingStatus.SERVING)
    assert [event.sequence for event in client.of(BeatAcked)[:3]] == [1, 2, 3]
    assert [(event.before, event.level) for event in client.of(LevelChanged)] == [(Level.HEARTBEAT, level)]
    assert {event.cause for event in client.of(StreamFailed)} <= {"unsupported", "unclear"}
    assert known.rtt is not None


@pytest.mark.parametrize("peer", BELOW, indirect=True)
def test_a_frozen_peer_is_down_at_every_level_and_up_again(peer: Peer, beat: Beat) -> None:
    with Relay(peer.target) as relay:
        client = beat(relay.target, HeartbeatPolicy(interval=0.2, misses=3, reconnect_min=0.02, reconnect_max=0.1))
        client.wait("up")
        level = client.snapshot().level
        assert level is not Level.HEARTBEAT
        relay.freeze()
        client.wait("down")
        relay.thaw()
        client.wait("up")
        wait_until(lambda: client.snapshot().level is level)
        client.close()


@pytest.mark.parametrize("peer", [Level.WATCH], indirect=True)
def test_a_watch_tells_of_a_change_between_beats(peer: Peer, beat: Beat) -> None:
    client = beat(peer.target, HeartbeatPolicy(interval=3600.0))
    wait_until(lambda: client.snapshot().serving is ServingStatus.SERVING)
    peer.board.set("", False)
    wait_until(lambda: client.snapshot().serving is ServingStatus.NOT_SERVING)
    assert client.snapshot().state == "up"
    assert [event.status for event in client.wait_for(ServingTold, 2)] == [
        ServingStatus.SERVING,
        ServingStatus.NOT_SERVING,
    ]


@pytest.mark.parametrize("peer", [Level.CHECK], indirect=True)
def test_a_check_tells_of_a_change_with_the_next_beat(peer: Peer, beat: Beat) -> None:
    client = beat(peer.target, QUICK)
    client.wait("up")
    peer.board.set("", False)
    wait_until(lambda: client.snapshot().serving is ServingStatus.NOT_SERVING)


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED])
def test_a_peer_that_will_not_say_is_alive(beat: Beat, code: grpc.StatusCode) -> None:
    closing = threading.Event()

    def refuse(request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(code, "as you wish")

    def watch(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        closing.wait(PATIENCE)

    check: Any = grpc.unary_unary_rpc_method_handler(refuse, **HEALTH)
    peer = Peer(Level.WATCH, {"Check": check, "Watch": grpc.unary_stream_rpc_method_handler(watch, **HEALTH)})
    client = beat(peer.target, QUICK)
    client.wait_for(BeatAcked, 3)
    known = client.snapshot()
    assert (known.level, known.state, known.serving) == (Level.WATCH, "up", ServingStatus.UNKNOWN)
    closing.set()
    client.close()
    peer.close()


def test_a_watch_that_fails_is_opened_again_after_pauses_that_grow(beat: Beat) -> None:
    opened: list[bytes] = []

    def watch(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        opened.append(request)
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED if len(opened) < 4 else grpc.StatusCode.UNIMPLEMENTED, "no")
        yield b""

    check: Any = grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")
    peer = Peer(Level.WATCH, {"Check": check, "Watch": grpc.unary_stream_rpc_method_handler(watch)})
    client = beat(peer.target, QUICK)
    client.wait_for(BeatAcked)
    assert client.snapshot().level is Level.CHECK
    assert len(opened) == 4
    client.close()
    peer.close()


def test_a_peer_that_is_upgraded_is_beaten_again(beat: Beat, loop: LoopThread) -> None:
    old: Server = SyncServer(loop, heartbeats=False)
    client = beat(old.target, QUICK)
    wait_until(lambda: client.snapshot().level is Level.TRANSPORT)
    port = int(old.target.rpartition(":")[2])
    old.close()
    new = AioServer(loop, port)
    wait_until(lambda: client.snapshot().level is Level.HEARTBEAT)
    client.wait("up")
    wait_until(lambda: client.snapshot().peer is not None)
    client.close()
    new.close()


def test_a_better_level_is_tried_on_the_same_connection(beat: Beat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "RETRY_AFTER", 0.3)
    peer = Peer(Level.CHECK)
    client = beat(peer.target, QUICK)
    wait_until(lambda: client.snapshot().level is Level.CHECK)
    closed = client.wait_for(StreamClosed, 2)
    assert {event.why for event in closed} == {"a better level is tried"}
    client.wait_for(BeatAcked)
    assert client.snapshot().level is Level.CHECK
    assert len(client.of(LevelChanged)) == 1
    client.close()
    peer.close()


def test_a_better_answer_at_the_lowest_level_leads_to_the_top(beat: Beat) -> None:
    upgraded = threading.Event()

    def check(request: bytes, context: grpc.ServicerContext) -> bytes:
        if not upgraded.is_set():
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "not yet")
        return b"\x08\x01"

    handler: Any = grpc.unary_unary_rpc_method_handler(check)
    peer = Peer(Level.CHECK, {"Check": handler})
    client = beat(peer.target, QUICK)
    wait_until(lambda: client.snapshot().level is Level.TRANSPORT)
    client.wait_for(BeatAcked)
    upgraded.set()
    wait_until(lambda: client.snapshot().level is Level.CHECK)
    assert client.snapshot().state == "up"
    client.close()
    peer.close()


def test_without_fallback_such_a_peer_is_left_alone(beat: Beat) -> None:
    peer = Peer(Level.WATCH)
    client = beat(peer.target, HeartbeatPolicy(interval=0.05, fallback=False))
    assert client.wait("unsupported").level is Level.HEARTBEAT
    wait_until(client.rests)
    client.close()
    peer.close()


def test_a_channel_that_is_closed_at_a_lower_level_closes_the_heartbeat(beat: Beat) -> None:
    peer = Peer(Level.CHECK)
    client = beat(peer.target, QUICK)
    wait_until(lambda: client.snapshot().level is Level.CHECK)
    client.close_channel()
    client.wait("closed")
    peer.close()


def test_the_servicer_of_grpcio_health_checking_is_watched(beat: Beat) -> None:
    with ThreadPoolExecutor(4) as workers:
        servicer = health.HealthServicer()
        server = grpc.server(workers, options=OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        client = beat(target, QUICK)
        client.wait_for(BeatAcked, 2)
        servicer.set("", NOT_SERVING)
        wait_until(lambda: client.snapshot().serving is ServingStatus.NOT_SERVING)
        assert client.snapshot().level is Level.WATCH
        client.close()
        server.stop(None).wait(PATIENCE)


def test_the_asyncio_servicer_of_grpcio_health_checking_is_watched(beat: Beat, loop: LoopThread) -> None:
    async def start() -> tuple[grpc.aio.Server, Any, str]:
        servicer = aio_health.HealthServicer()
        server = grpc.aio.server(options=OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        return server, servicer, target

    server, servicer, target = loop.run(start())
    client = beat(target, QUICK)
    client.wait_for(BeatAcked, 2)
    loop.run(servicer.set("", NOT_SERVING))
    wait_until(lambda: client.snapshot().serving is ServingStatus.NOT_SERVING)
    assert client.snapshot().level is Level.WATCH
    client.close()
    loop.run(server.stop(None))


@pytest.mark.parametrize("stack", list(CLIENTS))
def test_clients_of_both_stacks_agree_with_a_peer_of_neither(stack: str, loop: LoopThread) -> None:
    """An asyncio server that knows nothing answers by itself."""
    server = AioServer(loop, heartbeats=False)
    client = CLIENTS[stack](loop, server.target, QUICK)
    client.wait_for(BeatAcked, 2)
    assert client.snapshot().level is Level.TRANSPORT
    client.close()
    server.close()


def test_a_breaker_is_moved_by_health_checks() -> None:
    peer = Peer(Level.CHECK)
    with Relay(peer.target) as relay:
        channel = grpc_heartbeat.insecure_channel(
            relay.target, heartbeat=HeartbeatPolicy(interval=0.1), breaker=BreakerPolicy()
        )
        check: Any = channel.unary_unary(f"/{SERVICE}/Check")
        check(b"", timeout=PATIENCE)
        heartbeat = channel.heartbeat
        assert heartbeat is not None
        wait_until(lambda: heartbeat.snapshot().level is Level.CHECK)
        wait_until(lambda: heartbeat.snapshot().acked > 2)
        relay.freeze()
        wait_until(lambda: heartbeat.breaker is not None and not heartbeat.breaker.snapshot.closed)
        with pytest.raises(grpc.RpcError) as caught:
            check(b"")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        relay.thaw()
        wait_until(lambda: heartbeat.breaker is not None and heartbeat.breaker.snapshot.closed)
        check(b"", timeout=PATIENCE)
        channel.close()
    peer.close()
