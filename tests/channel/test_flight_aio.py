"""What a flight does when its timer fires, with a call and a connection that do as the test says."""

from __future__ import annotations

import asyncio
import time
from time import monotonic
from typing import Any

import grpc.aio
import pytest

from grpc_heartbeat.channel.connection_aio import Connection
from grpc_heartbeat.channel.flight_aio import Flight, headers_came
from grpc_heartbeat.channel.layers_aio import LoopLayers
from grpc_heartbeat.core.guard import Stage
from grpc_heartbeat.core.limits import Limits
from tests.peers import PATIENCE, wait_until

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


def started(limits: Limits, connection: FakeConnection, ready: bool = False) -> tuple[Flight, FakeCall]:
    """Return a call, as it comes without a connection, and its flight."""
    flight = Flight()
    flight.method = "/a.B/C"
    flight.layers = LoopLayers(limits)
    flight.connection = connection
    flight.started = monotonic()
    flight.ready = ready
    flight.prepare_messages()
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
    await asyncio.to_thread(wait_until, lambda: not flight.armed)
    assert flight.guard.stage is Stage.OPEN
    assert not call.over


async def test_initial_metadata_without_a_connection_are_those_of_a_call_that_fails() -> None:
    flight, call = started(Limits(connect=LIMIT, idle=LIMIT), FakeConnection())
    flight.guard.reading_since = monotonic()
    call.headers.set_result(None)
    await asyncio.to_thread(wait_until, lambda: flight.guard.claimed_at is not None)
    call.over = True  # here is its status
    await asyncio.to_thread(wait_until, lambda: flight.call is None)
    assert flight.verdict is None
    assert flight.guard.stage is Stage.CONNECTING


class Reading:
    """A call that waits for a message, and what happens when somebody looks whether it is late."""

    def __init__(self) -> None:
        connection = FakeConnection()
        connection.is_ready = True
        self.flight, self.call = started(Limits(idle=LIMIT), connection, ready=True)
        self.call.headers.set_result(None)
        self.flight.guard.reading_since = monotonic()
        self.looks = 0
        self.call.done = self._looked_at  # type: ignore[method-assign]

    def _looked_at(self) -> bool:
        if not self.call.over:
            self.looks += 1
            self.look()
        return self.call.over

    def look(self) -> None:
        """Do what the test says."""

    def delivered(self) -> None:
        self.flight.guard.reading_since = None

    async def saved(self) -> bool:
        flight = self.flight
        await asyncio.to_thread(wait_until, lambda: flight.verdict or flight.guard.reading_since is None)
        saved = not self.call.over
        flight.release()
        return saved


async def test_a_message_that_the_loop_has_when_the_time_is_up_saves_the_call() -> None:
    class Received(Reading):
        def look(self) -> None:
            if self.looks == 2:  # the loop has it now, its reader has it two rounds later
                loop = asyncio.get_running_loop()
                loop.call_soon(loop.call_soon, self.delivered)

    assert await Received().saved()


async def test_a_loop_that_is_short_of_cpu_hears_of_a_message_before_the_call_is_ended() -> None:
    class Starved(Reading):
        def look(self) -> None:
            loop = asyncio.get_running_loop()
            if self.looks == 1:
                loop.call_soon(time.sleep, 3 * LIMIT)  # sleep: the loop is blocked
            elif self.looks == 2:
                loop.call_later(LIMIT / 4, self.delivered)

    assert await Starved().saved()


async def test_a_loop_that_is_always_late_ends_its_calls_all_the_same() -> None:
    class Wedged(Reading):
        def look(self) -> None:
            asyncio.get_running_loop().call_soon(time.sleep, 3 * LIMIT)  # sleep: the loop is blocked

    reading = Wedged()
    assert not await reading.saved()
    assert reading.looks < 10


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
