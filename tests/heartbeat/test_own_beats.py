"""Servers that beat, too: their clients echo, or are noticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from grpc_heartbeat import HeartbeatPolicy
from grpc_heartbeat.core.frames import Ack, Beat, Goodbye
from grpc_heartbeat.core.heartbeat_events import BeatAcked, BeatMissed
from grpc_heartbeat.core.held_events import ClientEchoed, ClientJoined, ClientLeft, ClientLost, ClientMissed
from tests.heartbeat.ends import CLIENT, QUICK, SERVERS, Client, Server
from tests.heartbeat.raw_client import RawClient
from tests.peers import LoopThread, wait_until

Serve = Callable[..., Server]
Beats = Callable[..., Client]
OFTEN = HeartbeatPolicy(interval=0.05, timeout=0.05, misses=3)
FORGIVING = HeartbeatPolicy(interval=0.05, misses=1_000)


def observed(server: Server) -> list[Any]:
    events: list[Any] = []
    server.board.heartbeats[0].observers.add(events.append)
    return events


def count(events: list[Any], kind: type) -> int:
    return sum(isinstance(event, kind) for event in list(events))


def test_both_ends_beat_and_echo(serve: Serve, beat: Beats) -> None:
    server = serve(beats=FORGIVING)
    events = observed(server)
    client = beat(server.target, QUICK)
    client.wait_for(BeatAcked, 3)
    wait_until(lambda: count(events, ClientEchoed) >= 3)
    assert {event.peer for event in events} == {CLIENT}
    echoes = [event for event in list(events) if isinstance(event, ClientEchoed)]
    assert [event.sequence for event in echoes] == sorted({event.sequence for event in echoes})
    assert all(0 < event.rtt < 10 for event in echoes)
    assert not client.of(BeatMissed)
    client.stop()
    wait_until(lambda: count(events, ClientLeft) == 1)
    assert count(events, ClientLost) == 0


def test_a_client_that_does_not_echo_is_cut(serve: Serve) -> None:
    server = serve(beats=OFTEN)
    events = observed(server)
    client = RawClient(server.target)
    client.greet()
    assert isinstance(client.frame(), Beat)
    assert client.end()[0] in (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED)
    wait_until(lambda: count(events, ClientLost) == 1)
    assert [event.consecutive for event in events if isinstance(event, ClientMissed)] == [1, 2, 3]
    assert "not echoed" in next(event.why for event in events if isinstance(event, ClientLost))
    client.close()


def test_a_drain_ends_a_stream_on_which_the_server_beats(serve: Serve) -> None:
    server = serve(beats=FORGIVING)
    client = RawClient(server.target)
    client.greet()
    first = client.frame()
    assert isinstance(first, Beat)
    client.put(Ack(first.sequence))
    assert isinstance(client.frame(), Beat)
    server.board.drain("update")
    assert any(isinstance(frame, Goodbye) for frame in client.rest())
    assert client.call.code() is grpc.StatusCode.OK
    client.close()


def test_an_observer_hears_of_clients_in_order(loop: LoopThread) -> None:
    for start in SERVERS.values():
        server = start(loop)
        events = observed(server)
        client = RawClient(server.target)
        client.greet()
        client.put(Goodbye())
        client.end()
        wait_until(lambda events=events: count(events, ClientLeft) == 1)  # type: ignore[misc]
        assert [type(event) for event in events] == [ClientJoined, ClientLeft]
        client.close()
        server.close()
