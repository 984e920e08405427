"""Heartbeats between real ends: both stacks against both."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from itertools import pairwise

import grpc
import pytest

from grpc_heartbeat.config import HeartbeatPolicy
from grpc_heartbeat.core.frames import GoodbyeReason, Load, ServingStatus
from grpc_heartbeat.core.heartbeat_events import (
    BeatAcked,
    BeatMissed,
    BeatSent,
    HeartbeatClosed,
    PeerLeft,
    StreamFailed,
    StreamOpened,
    StreamOpening,
)
from grpc_heartbeat.core.verdicts import Verdict
from grpc_heartbeat.heartbeat.client import SyncHeartbeat
from tests.heartbeat.ends import CLIENT, IMPATIENT, QUICK, SERVER, STEADY, AioServer, Client, Server, SyncServer
from tests.heartbeat.relay import Relay
from tests.peers import LoopThread, wait_until

Serve = Callable[..., Server]
Beat = Callable[..., Client]


def test_beats_are_echoed_in_sequence_and_the_peer_is_known(serve: Serve, beat: Beat) -> None:
    client = beat(serve(load=lambda: Load(in_flight=7)).target, STEADY)
    acked = client.wait_for(BeatAcked, 4)
    assert [event.sequence for event in acked[:4]] == [1, 2, 3, 4]
    known = client.snapshot()
    assert (known.state, known.peer, known.serving) == ("up", SERVER, ServingStatus.SERVING)
    assert known.load == Load(in_flight=7)
    assert known.last_rtt is not None
    assert 0 < known.last_rtt < 5
    assert not client.of(BeatMissed)


def test_beats_keep_to_their_grid(serve: Serve, beat: Beat) -> None:
    client = beat(serve().target)
    sent = [event.at for event in client.wait_for(BeatSent, 9)]
    assert sent.pop(0) - client.of(StreamOpened)[0].at < QUICK.interval
    origin = client.heartbeat._session._origin
    assert all(
        (second - origin) // QUICK.interval > (first - origin) // QUICK.interval for first, second in pairwise(sent)
    )


def test_a_status_on_the_board_reaches_the_client(serve: Serve, beat: Beat) -> None:
    server = serve()
    client = beat(server.target)
    client.wait("up")
    server.board.set("", False)
    wait_until(lambda: client.snapshot().serving is ServingStatus.NOT_SERVING)
    assert client.snapshot().state == "up"


def test_a_drain_ends_with_a_goodbye_and_no_alarm(serve: Serve, beat: Beat) -> None:
    server = serve()
    client = beat(server.target)
    client.wait("up")
    server.board.drain("new version")
    client.wait("draining")
    (left, *_) = client.wait_for(PeerLeft)
    assert (left.reason, left.message) == (GoodbyeReason.DRAINING, "new version")
    assert not client.of(StreamFailed)
    client.wait_for(StreamOpened, 2)  # it looks again, and hears the same
    client.wait_for(PeerLeft, 2)
    assert client.snapshot().state == "draining"


def test_a_drain_reaches_an_idle_asyncio_stream_at_once(beat: Beat, loop: LoopThread) -> None:
    server = AioServer(loop)
    client = beat(server.target, HeartbeatPolicy(interval=3600.0))
    client.wait_for(BeatAcked)
    server.board.drain("now")
    client.wait("draining")
    client.close()
    server.close()


def test_an_advised_interval_slows_the_client_down(serve: Serve, beat: Beat) -> None:
    client = beat(serve(advised_interval=30.0).target)
    client.wait_for(BeatAcked)
    wait_until(lambda: client.heartbeat._session.interval == 30.0)


def test_a_server_without_heartbeats_is_unsupported_and_left_alone(serve: Serve, beat: Beat) -> None:
    client = beat(serve(heartbeats=False).target, HeartbeatPolicy(interval=0.05, fallback=False))
    known = client.wait("unsupported")
    assert "UNIMPLEMENTED" in known.last_error
    wait_until(client.rests)
    assert {event.cause for event in client.of(StreamFailed)} <= {"unsupported", "unclear"}
    assert client.snapshot().state == "unsupported"


def test_a_server_that_restarts_is_found_again(serve: Serve, beat: Beat) -> None:
    server = serve()
    client = beat(server.target)
    client.wait("up")
    server.close()
    assert "UNAVAILABLE" in client.wait("down").last_error
    serve(int(server.target.rpartition(":")[2]))
    client.wait("up")
    assert client.snapshot().streams == 2


def test_a_silent_peer_is_late_then_down_then_up_again(serve: Serve, beat: Beat) -> None:
    server = serve()
    with Relay(server.target) as relay:
        client = beat(relay.target, IMPATIENT)
        client.wait("up")
        relay.freeze()
        client.wait("late")
        assert client.wait("down").verdict is Verdict.DOWN
        wait_until(lambda: client.snapshot().consecutive_misses == IMPATIENT.misses)
        failed = client.wait_for_failure()
        wait_until(lambda: client.of(StreamOpening)[-1].at > failed.at)
        again = next(event for event in client.of(StreamOpening) if event.at > failed.at)
        before = [event.consecutive for event in client.of(BeatMissed) if event.at <= failed.at]
        assert before[-IMPATIENT.misses :] == [1, 2, 3]
        assert failed.cause == "silent"
        assert again.at - failed.at < 0.4, "the silent stream was left to its grace period"
        relay.thaw()
        assert client.wait("up").consecutive_misses == 0
        client.close()


def test_nobody_at_the_address_is_down_and_tried_again(beat: Beat) -> None:
    with socket.socket() as closed_port:
        closed_port.bind(("127.0.0.1", 0))
        client = beat(f"127.0.0.1:{closed_port.getsockname()[1]}")
        client.wait("down")
        client.wait_for(StreamOpening, 3)


def test_closing_says_goodbye_once_and_for_all(serve: Serve, beat: Beat) -> None:
    client = beat(serve().target)
    client.wait("up")
    client.stop()
    assert client.snapshot().state == "closed"
    events = len(client.events)
    client.stop()
    client.restart()
    assert len(client.events) == events
    assert len(client.of(HeartbeatClosed)) == 1
    assert not client.of(StreamFailed)


def test_closing_does_not_hang_on_a_frozen_peer(serve: Serve, beat: Beat) -> None:
    server = serve()
    with Relay(server.target) as relay:
        client = beat(relay.target, HeartbeatPolicy(interval=60.0))
        client.wait("up")
        relay.freeze()
        before = time.monotonic()
        client.stop()
        assert time.monotonic() - before < 4
        assert client.snapshot().state == "closed"
        client.close()


def test_closing_before_anything_was_opened(beat: Beat) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts in the kernel, never answers
        client = beat(f"127.0.0.1:{mute.getsockname()[1]}")
        client.close()
        assert client.snapshot().state == "closed"


def test_a_closed_channel_closes_its_heartbeat(serve: Serve, beat: Beat) -> None:
    client = beat(serve().target)
    client.wait("up")
    client.close_channel()
    assert "channel is closed" in client.wait("closed").last_error


def test_streams_beyond_the_limit_are_refused_with_advice(serve: Serve, beat: Beat) -> None:
    target = serve(max_streams=1).target
    first = beat(target)
    first.wait("up")
    second = beat(target)
    assert "raise max_streams" in second.wait("unsupported").last_error
    first.close()
    second.wait("up")


def test_business_workers_are_left_to_business(beat: Beat, loop: LoopThread) -> None:
    server = SyncServer(loop, max_streams=8, load=None)
    clients = [beat(server.target) for _ in range(6)]
    for client in clients:
        client.wait("up")
    assert server.pool._threads == set()
    for client in clients:
        client.close()
    server.close()


def test_an_observer_may_close_the_heartbeat(serve: Serve) -> None:
    with grpc.insecure_channel(serve().target) as channel:
        heartbeat = SyncHeartbeat(channel, QUICK, CLIENT)
        heartbeat.observers.add(lambda event: heartbeat.close() if isinstance(event, BeatAcked) else None)
        heartbeat.start()
        wait_until(lambda: heartbeat.snapshot().state == "closed")
        heartbeat.close()


@pytest.mark.internal_faults
def test_an_observer_that_raises_is_removed_and_the_beats_go_on(serve: Serve, beat: Beat) -> None:
    client = beat(serve().target)
    client.heartbeat.observers.add(lambda event: 1 / 0)
    wait_until(lambda: len(client.heartbeat.observers) == 1)
    count = len(client.of(BeatAcked))
    client.wait_for(BeatAcked, count + 2)
