"""A server that ends connections for their age is not sick: the heartbeat opens a new stream and raises no alarm."""

from __future__ import annotations

import threading
from concurrent import futures
from typing import Any

import grpc
import pytest

import grpc_heartbeat as hb


@pytest.mark.slow
def test_the_end_of_an_old_connection_is_no_alarm() -> None:
    options = [
        ("grpc.max_connection_age_ms", 600),
        ("grpc.max_connection_age_grace_ms", 200),
        ("grpc.so_reuseport", 0),
    ]
    pool = futures.ThreadPoolExecutor(2)
    server = grpc.server(pool, options=options)
    board = hb.add_to_server(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    reopened, states, opened = threading.Event(), set[str](), 0

    def watch(event: Any) -> None:
        nonlocal opened
        states.add(heartbeat.snapshot().state)
        if isinstance(event, hb.events.StreamOpened):
            opened += 1
            if opened == 3:
                reopened.set()

    with hb.insecure_channel(f"127.0.0.1:{port}", heartbeat=hb.HeartbeatPolicy(interval=0.1)) as channel:
        heartbeat: Any = channel.heartbeat
        heartbeat.observers.add(watch)
        assert reopened.wait(30)
    server.stop(0).wait()
    board.close()
    pool.shutdown()
    assert "up" in states
    assert "down" not in states
