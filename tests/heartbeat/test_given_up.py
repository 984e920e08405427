"""A heartbeat that no guarded channel moves leaves the stream on which its breaker opened, though the peer answers on it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from unittest import mock

import grpc
import pytest

from grpc_heartbeat import BreakerPolicy, HeartbeatPolicy
from grpc_heartbeat._timers import clock
from grpc_heartbeat.core.breaker import BreakerClosed, BreakerOpened
from grpc_heartbeat.core.frames import Ack, Beat, Hello, Load
from grpc_heartbeat.core.heartbeat_events import BeatAcked, StreamClosed, StreamFailed
from grpc_heartbeat.heartbeat import calls, codec
from tests.heartbeat.ends import CLIENTS, IMPATIENT, SERVER
from tests.peers import OPTIONS, PATIENCE, LoopThread

STUCK = Load(queue_delay=60.0)
SELDOM = HeartbeatPolicy(interval=3600.0, timeout=PATIENCE)


class Peer(grpc.GenericRpcHandler):
    """Echoes every beat at once; on its first stream it says that work has waited for a worker for a minute."""

    def __init__(self) -> None:
        self._streams = itertools.count(1)
        self._workers = ThreadPoolExecutor(4)
        self._server = grpc.server(self._workers, options=OPTIONS)
        self._server.add_generic_rpc_handlers((self,))
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, handler_call_details: Any) -> Any:
        return (
            grpc.stream_stream_rpc_method_handler(self._echo)
            if handler_call_details.method == calls.KEEPALIVE
            else None
        )

    def _echo(self, requests: Iterator[bytes], _context: Any) -> Iterator[bytes]:
        load = STUCK if next(self._streams) == 1 else None
        yield codec.encode(Hello(SERVER))
        for frame in map(codec.decode, requests):
            if isinstance(frame, Beat):
                yield codec.encode(Ack(frame.sequence, load=load))

    def close(self) -> None:
        self._server.stop(None).wait(PATIENCE)
        self._workers.shutdown()


@pytest.mark.parametrize("stack", CLIENTS)
def test_the_stream_on_which_the_breaker_opened_is_left_for_a_probe(stack: str) -> None:
    policy = BreakerPolicy(open_min=0.05, open_max=0.2)
    with ExitStack() as cleanup:
        loop, peer = LoopThread(), Peer()
        cleanup.callback(loop.close)
        cleanup.callback(peer.close)
        client = CLIENTS[stack](loop, peer.target, IMPATIENT, breaker=policy)
        cleanup.callback(client.close)
        (opened,) = client.wait_for(BreakerOpened)
        (closed,) = client.wait_for(BreakerClosed)
        client.wait("up")
        assert [event.why for event in client.of(StreamClosed)] == ["the breaker opened"]
        assert not client.of(StreamFailed)
        assert closed.at - opened.at >= opened.pause
        assert [event.sequence for event in client.of(BeatAcked) if event.at <= opened.at] == [1]


def test_a_stream_that_somebody_else_has_just_left_is_not_given_up_again() -> None:
    """The breaker opens on one thread while another moves the heartbeat: when to open the next stream is the other's to say."""
    with ExitStack() as cleanup:
        loop, peer = LoopThread(), Peer()
        cleanup.callback(loop.close)
        cleanup.callback(peer.close)
        client = CLIENTS["sync"](loop, peer.target, SELDOM)
        cleanup.callback(client.close)
        client.wait_for(BeatAcked)
        heartbeat: Any = client.heartbeat
        session, now = heartbeat._session, clock()
        with mock.patch.object(heartbeat, "_settle"):
            heartbeat._leave(now, "moved", SELDOM.interval)
        assert heartbeat._give_up(session, now) is None
        assert heartbeat._session is session
        heartbeat._settle(session, now, None)
        assert heartbeat._session is None
        assert heartbeat._open_at == now + SELDOM.interval
        assert [event.why for event in client.wait_for(StreamClosed)] == ["moved"]
