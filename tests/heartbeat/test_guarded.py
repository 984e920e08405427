"""Channels with a breaker between real ends: dead peers are noticed, calls end or wait, and the way back is found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

import grpc_heartbeat as hb
from grpc_heartbeat.errors import timeout_of
from grpc_heartbeat.events import BreakerClosed, BreakerOpened, JudgementSuspended, Verdict, VerdictChanged
from tests.heartbeat.guarded import BEATS, GUARDED, HANG, WAITING, Business, Guarded
from tests.heartbeat.relay import Relay
from tests.peers import LoopThread, wait_until

Guard = Callable[..., Guarded]
BOUND = 3.0
"""Seconds for what should take 0.8 s, on a loud machine."""


@pytest.fixture(params=["sync", "aio"])
def guard(request: pytest.FixtureRequest, loop: LoopThread) -> Iterator[Guard]:
    """Make guarded channels of one stack; they are closed after the test, before the servers."""
    made: list[Guarded] = []

    def make(*args: Any, **options: Any) -> Guarded:
        made.append(GUARDED[request.param](loop, *args, **options))
        return made[-1]

    yield make
    for channel in made:
        channel.close()


@pytest.fixture
def business() -> Iterator[Business]:
    server = Business()
    yield server
    server.close()


@pytest.fixture
def relay(business: Business) -> Iterator[Relay]:
    with Relay(business.target) as between:
        yield between


def ended_by_breaker(error: Any) -> None:
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "the heartbeat breaker" in error.details()
    facts = timeout_of(error)
    assert facts is not None
    assert (facts.layer, facts.source) == ("breaker", "breaker")


def test_a_black_hole_from_its_beginning_to_its_end(guard: Guard, relay: Relay, business: Business) -> None:
    client = guard(relay.target)
    client.up()
    assert client.call()
    hanging = [client.start(way, HANG) for way in client.ways]
    wait_until(lambda: business.hanging == len(hanging))
    relay.freeze()
    began = time.monotonic()
    client.wait(closed=False)
    noticed = time.monotonic() - began
    for call in hanging:
        error = call.exception(5)
        ended_by_breaker(error)
        assert "was ended after" in error.details(), error  # type: ignore[union-attr]
    ended = time.monotonic() - began
    for way in client.ways:
        before = time.monotonic()
        error = client.error(way=way)
        assert time.monotonic() - before < 1
        ended_by_breaker(error)
        assert "was not sent" in error.details()
        assert "probed" in error.details()
    assert client.heartbeat().verdict is Verdict.DOWN
    assert not client.heartbeat().operational
    relay.thaw()
    began = time.monotonic()
    client.wait(closed=True)
    assert client.call()
    usable = time.monotonic() - began
    client.up()
    print(f"noticed {noticed:.2f} s, calls ended {ended:.2f} s, usable {usable:.2f} s")
    assert noticed < BOUND
    assert ended < BOUND + 1
    assert usable < BOUND + 1
    opened = [event for event in client.of(BreakerOpened) if not event.again]
    assert len(opened) == 1
    wait_until(lambda: client.of(BreakerClosed))  # observers hear a little later than the channel
    assert len(client.of(BreakerClosed)) == 1
    assert relay.connections > 1, "the connection was replaced"


def test_calls_that_wait_go_through_when_the_peer_is_back(guard: Guard, relay: Relay) -> None:
    client = guard(relay.target, WAITING)
    client.up()
    relay.freeze()
    client.wait(closed=False)
    waiting = [client.start(way, b"later") for way in client.ways]
    limited = [client.start(way, b"later", timeout=30) for way in client.ways]
    hurried = [client.start(way, b"now", timeout=0.2) for way in client.ways]
    for call in hurried:
        error: Any = call.exception(5)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED, error
        facts = timeout_of(error)
        assert facts is not None
        assert facts.layer == "breaker"
        assert facts.limit == pytest.approx(0.2)
        assert "was not sent within its 0.2 s: the heartbeat breaker" in error.details()
    assert not any(call.done() for call in (*waiting, *limited))
    relay.thaw()
    for call in (*waiting, *limited):
        assert call.result(10) in (b"later", [b"later"])


def test_a_server_that_restarts_is_used_again(guard: Guard) -> None:
    server = Business()
    client = guard(server.target)
    client.up()
    server.close()
    client.wait(closed=False)
    ended_by_breaker(client.error())
    again = Business(server.port)
    began = time.monotonic()
    client.wait(closed=True)
    assert client.call()
    usable = time.monotonic() - began
    print(f"usable {usable:.2f} s after the restart")
    assert usable < BOUND
    client.close()
    again.close()


def test_calls_of_the_application_open_nothing(guard: Guard, business: Business) -> None:
    client = guard(business.target)
    client.up()
    for _ in range(5):
        call = client.start(client.ways[-1], HANG, timeout=0.05)
        assert isinstance(call.exception(5), grpc.RpcError)
    if client.ways[0] == "call":
        for _ in range(5):
            future = client.channel.unary_unary("/test.Chain/UnaryUnary").future(HANG)
            future.cancel()
    missing = client.channel.unary_unary("/test.Chain/Missing")
    assert missing is not None
    beats = client.heartbeat().acked
    wait_until(lambda: client.heartbeat().acked > beats + 4)
    assert (client.breaker().opened, client.breaker().misses, client.breaker().closed) == (0, 0, True)


def test_calls_on_the_new_connection_are_left_alone(guard: Guard, relay: Relay, business: Business) -> None:
    client = guard(relay.target)
    client.up()
    relay.freeze()
    client.wait(closed=False)
    relay.thaw()
    client.wait(closed=True)
    call = client.start(client.ways[0], HANG)
    wait_until(lambda: business.hanging == 1)
    beats = client.heartbeat().acked
    wait_until(lambda: client.heartbeat().acked > beats + 4)
    assert not call.done()
    business.released.set()
    assert call.result(5) in (HANG, [HANG])


def test_a_loop_or_a_gil_that_was_blocked_convicts_nobody(guard: Guard, business: Business, loop: LoopThread) -> None:
    client = guard(business.target)
    client.up()
    aio = client.ways[0] != "call"
    if aio:
        loop.loop.call_soon_threadsafe(time.sleep, 1.5)  # sleep: the blocked loop is the subject
    else:
        sum(range(40_000_000))  # one operation, which does not give the interpreter's lock up
    beats = client.heartbeat().acked
    wait_until(lambda: client.heartbeat().acked > beats + 3)
    assert client.breaker().opened == 0
    assert not [event for event in client.of(VerdictChanged) if event.after.convicts]
    assert len(client.of(JudgementSuspended)) <= 1


@pytest.mark.parametrize("when_open", ["fail", "wait"])
def test_closing_while_it_is_open(guard: Guard, relay: Relay, when_open: Any) -> None:
    client = guard(relay.target, hb.BreakerPolicy(when_open=when_open))
    client.up()
    relay.freeze()
    client.wait(closed=False)
    waiting = [client.start(way, b"x", timeout=30) for way in client.ways]
    before = time.monotonic()
    client.close()
    wait_until(lambda: all(call.done() for call in waiting))
    assert time.monotonic() - before < 5
    assert all(call.cancelled() or call.exception() is not None for call in waiting)
    relay.thaw()


def test_the_facts_of_a_channel(guard: Guard, business: Business) -> None:
    client = guard(business.target)
    client.up()
    known = client.heartbeat()
    assert known.state == "up"
    assert known.operational
    assert known.phi < 8
    assert known.rtt is not None
    assert known.why == "the last beat was echoed"
    assert client.channel.breaker.closed
    assert BEATS.interval == 0.2
