"""Counting of inbound RPCs in flight, from many threads and without a lock."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from grpc_heartbeat import _in_flight
from grpc_heartbeat.interceptors.inbound import InboundScope
from grpc_heartbeat.interceptors.responses import ScopedResponses
from grpc_heartbeat.interceptors.server_state import ServerState


@pytest.fixture(autouse=True)
def switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_no_step_is_lost_between_threads_and_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_in_flight, "counted", True)
    before = _in_flight.in_flight()
    assert before is not None
    go = threading.Event()

    def work() -> None:
        go.wait()
        for _ in range(5_000):
            _in_flight.begin(None)
            _in_flight.end()
        _in_flight.begin(None)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    go.set()
    while any(thread.is_alive() for thread in threads):
        now = _in_flight.in_flight()
        assert now is not None
        assert before <= now <= before + 8
    assert _in_flight.in_flight() == before + 8
    for _ in threads:
        _in_flight.end()
    assert _in_flight.in_flight() == before


def test_who_does_not_count_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_in_flight, "counted", False)
    assert _in_flight.in_flight() is None


def test_a_stream_that_is_dropped_between_two_responses_is_not_in_flight() -> None:
    state = ServerState()
    before = _in_flight.in_flight()
    scope = InboundScope(None, state.method("/test.Chain/UnaryStream"))
    scope.counted = True
    _in_flight.begin(None)
    responses = ScopedResponses([b"first", b"second"], scope)
    assert next(iter(responses)) == b"first"
    assert _in_flight.in_flight() != before
    del responses
    assert _in_flight.in_flight() == before
