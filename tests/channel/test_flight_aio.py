"""What a flight does when its timer fires, with a call and a connection that do as the test says."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import grpc.aio
import pytest

from grpc_heartbeat.channel.connection_aio import Connection
from grpc_heartbeat.channel.flight_aio import Flight, LoopLayers, headers_came
from grpc_heartbeat.core.limits import Limits
from tests.peers import PATIENCE

LIMIT = 0.02


class FakeCall:
    """A call that is not done, and not accepted, until it is told so."""

    def __init__(self) -> None:
        self.over = False
        self.headers: Any = asyncio.get_running_loop().create_future()
        self.cancelled = asyncio.Event()

    def done(self) -> bool:
        return self.over

    def cancel(self) -> bool:
        self.over = True
        self.cancelled.set()
        return True

    async def initial_metadata(self) -> grpc.aio.Metadata:
        await self.headers
        return grpc.aio.Metadata()


class FakeConnection(Connection):
    """A connection that tells nobody of its changes."""

    def __init__(self) -> None:
        self.is_ready = False

    def ready(self) -> bool:
        return self.is_ready

    def state(self) -> str:
        return "READY" if self.is_ready else "CONNECTING"

    def wait(self, call: Any, loop: asyncio.AbstractEventLoop) -> None:
        """Tell nobody."""

    def leave(self, call: Any) -> None:
        """Nobody was kept."""

    def ask(self, answer: Any) -> None:
        answer(None)


def started(limits: Limits, connection: FakeConnection) -> tuple[Flight, FakeCall]:
    """Return a call without a connection, and its flight."""
    flight = Flight()
    flight.method = "/a.B/C"
    flight.layers = LoopLayers(limits)
    flight.connection = connection
    flight.started = monotonic()
    flight.ready = False
    call = FakeCall()
    flight.begin(call)
    return flight, call


async def test_a_connection_is_seen_by_looking_if_nobody_told() -> None:
    connection = FakeConnection()
    flight, call = started(Limits(connect=LIMIT, header=10 * LIMIT), connection)
    connection.is_ready = True
    await asyncio.wait_for(call.cancelled.wait(), PATIENCE)
    assert flight.verdict is not None
    assert flight.verdict.facts.layer == "header"


async def test_a_connection_that_came_while_the_last_error_was_asked_for_is_believed() -> None:
    class Late(FakeConnection):
        def ask(self, answer: Any) -> None:
            self.is_ready = True
            answer(None)

    flight, call = started(Limits(connect=LIMIT, header=LIMIT), Late())
    await asyncio.wait_for(call.cancelled.wait(), PATIENCE)
    assert flight.verdict is not None
    assert flight.verdict.facts.layer == "header"


async def test_acceptance_implies_a_connection() -> None:
    flight, call = started(Limits(connect=LIMIT, header=LIMIT), FakeConnection())
    call.headers.set_result(None)
    await asyncio.sleep(5 * LIMIT)  # sleep: nothing is to happen
    assert not call.over
    assert not flight.armed


async def test_a_call_that_ended_by_itself_is_let_go_at_its_limit() -> None:
    flight, call = started(Limits(connect=LIMIT), FakeConnection())
    call.over = True
    await asyncio.sleep(5 * LIMIT)  # sleep: nothing is to happen
    assert flight.call is None
    assert flight.verdict is None


async def test_a_call_that_will_not_be_cancelled_keeps_its_own_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCall, "cancel", lambda call: call.cancelled.set())
    flight, call = started(Limits(connect=LIMIT), FakeConnection())
    await asyncio.wait_for(call.cancelled.wait(), PATIENCE)
    assert flight.verdict is None


async def test_what_interceptors_keep_for_themselves_is_not_judged() -> None:
    flight, call = started(Limits(header=LIMIT), FakeConnection())
    call.headers = asyncio.ensure_future(asyncio.Event().wait())
    assert headers_came(call) is None
    flight.connected()
    await asyncio.sleep(5 * LIMIT)  # sleep: nothing is to happen
    assert not call.over
    call.headers.cancel()


async def test_what_interceptors_keep_for_themselves_still_needs_a_connection() -> None:
    flight, call = started(Limits(connect=LIMIT), FakeConnection())
    call.headers = asyncio.ensure_future(asyncio.Event().wait())
    await asyncio.wait_for(call.cancelled.wait(), PATIENCE)
    assert flight.verdict is not None
    assert flight.verdict.facts.layer == "connect"
    call.headers.cancel()


async def test_headers_are_looked_for_without_waiting_or_harm() -> None:
    call = FakeCall()
    waiting = asyncio.ensure_future(call.initial_metadata())
    await asyncio.sleep(0)
    for _ in range(2):
        assert headers_came(call) is False
    later = asyncio.ensure_future(call.initial_metadata())
    await asyncio.sleep(0)
    call.headers.set_result(None)
    assert headers_came(call)
    assert await waiting == await later == grpc.aio.Metadata()
