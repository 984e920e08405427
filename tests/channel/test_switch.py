"""The switch of a guarded channel by itself: where calls go after each event, and what is closed when."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from grpc_heartbeat.channel.switch import Switch
from grpc_heartbeat.core.breaker import BreakerClosed, BreakerOpened
from grpc_heartbeat.core.heartbeat_events import HeartbeatClosed
from grpc_heartbeat.core.scope import Reason, Scope
from tests.peers import PATIENCE


class Fitter:
    """Makes channels that are words."""

    def __init__(self) -> None:
        self.fails = False
        self.moves: list[tuple[str, str, float]] = []
        self.closed: list[str] = []

    def make(self, generation: int, /) -> str | None:
        if self.fails:
            raise RuntimeError("no more channels")
        return f"channel {generation}"

    def moved(self, old: str, new: str, after: float) -> None:
        self.moves.append((old, new, after))

    def close(self, channel: str) -> None:
        self.closed.append(channel)


class Call:
    def __init__(self) -> None:
        self.ended: list[Reason | None] = []

    def scope_cancelled(self, scope: Scope) -> None:
        self.ended.append(scope.reason)


def opened(generation: int, *, silent: bool = True, again: bool = False) -> BreakerOpened:
    return BreakerOpened(1.0, generation, "why", 0.1, again, silent)


CLOSED = BreakerClosed(2.0, 1, 1.0)


def test_silence_ends_calls_and_a_fresh_channel_takes_the_next_ones() -> None:
    fitter, told = Fitter(), []
    switch: Switch[str] = Switch("channel 0", fitter)
    call = Call()
    assert switch.passage is not None
    old = switch.passage.scope
    old.adopt(call)
    assert not switch.wait(lambda: told.append("never"))
    switch.hear(opened(1))
    assert switch.passage is None
    assert call.ended == [Reason.CONVICTED]
    assert fitter.moves == [("channel 0", "channel 1", 0.1)]
    assert fitter.closed == ["channel 0"]
    assert switch.wait(lambda: told.append("go"))
    switch.hear(CLOSED)
    assert told == ["go"]
    assert switch.passage is not None
    assert (switch.passage.channel, switch.passage.generation) == ("channel 1", 1)
    assert switch.close() == ["channel 1"]


def test_calls_on_a_connection_that_was_lost_are_left_to_grpc_and_its_channel_is_closed_after_them() -> None:
    fitter = Fitter()
    switch: Switch[str] = Switch("channel 0", fitter)
    call = Call()
    assert switch.passage is not None
    old = switch.passage.scope
    old.adopt(call)
    switch.hear(opened(1, silent=False))
    switch.hear(opened(2, again=True))
    assert (call.ended, fitter.closed) == ([], ["channel 1"])
    old.release(call)
    assert fitter.closed == ["channel 1", "channel 0"]


def test_what_is_left_when_the_channel_is_closed() -> None:
    fitter, told = Fitter(), []
    switch: Switch[str] = Switch("channel 0", fitter)
    call = Call()
    switch.current.scope.adopt(call)
    switch.hear(opened(1, silent=False))
    switch.wait(lambda: told.append("over"))
    assert sorted(switch.close()) == ["channel 0", "channel 1"]
    assert told == ["over"]
    assert switch.over
    switch.hear(opened(2))
    assert switch.passage is not None, "it is closed by then, and says so itself"
    assert len(fitter.moves) == 1


def test_a_heartbeat_that_is_gone_keeps_no_call_back() -> None:
    switch: Switch[str] = Switch("channel 0", Fitter())
    switch.hear(opened(1))
    switch.hear(HeartbeatClosed(3.0, "internal fault"))
    assert switch.passage is switch.current


@pytest.mark.internal_faults
def test_a_channel_that_cannot_be_made_is_done_without_and_a_waiter_that_fails_harms_nobody() -> None:
    fitter, told = Fitter(), []
    fitter.fails = True
    switch: Switch[str] = Switch("channel 0", fitter)
    switch.hear(opened(1))
    switch.wait(lambda: 1 / 0)  # type: ignore[arg-type]
    switch.wait(lambda: told.append("go"))
    switch.hear(CLOSED)
    assert told == ["go"]
    assert switch.passage is not None
    assert switch.passage.channel == "channel 0"
    assert switch.passage.scope.reason is None
    assert fitter.closed == []


class Looking:
    """Has the garbage collector run while the switch, which wants its hash, holds its lock."""

    def __init__(self, found: Callable[[], object]) -> None:
        self._found = found

    def __hash__(self) -> int:
        self._found()
        return 1

    def __call__(self) -> None: ...


def test_a_call_that_is_found_dropped_while_the_switch_is_busy_ends_there() -> None:
    fitter = Fitter()
    switch: Switch[str] = Switch("channel 0", fitter)
    call = Call()
    old = switch.current.scope
    old.adopt(call)
    switch.hear(opened(1, silent=False))
    assert fitter.closed == []
    waiting = threading.Thread(target=switch.wait, args=(Looking(lambda: old.release(call)),), daemon=True)
    waiting.start()
    waiting.join(PATIENCE)
    assert not waiting.is_alive()
    assert fitter.closed == ["channel 0"]
