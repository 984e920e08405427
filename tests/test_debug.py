"""What is armed and by whom, how late timers were, and who dropped calls."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grpc_heartbeat import _abandoned, debug
from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat._timers import THREAD_NAME, clock, timers
from grpc_heartbeat.core.timers import Timer
from tests.peers import LoopThread

PATIENCE = 5.0
THREAD = f"thread {THREAD_NAME}"


class Call(Timer):
    """Stands for a call in flight that is its own timer."""

    __slots__ = ("__weakref__", "over")

    def __init__(self) -> None:
        self.over = False

    def fire(self) -> None:
        pass

    def describe(self) -> str:
        return "call of /shop.Orders/Buy"

    def done(self) -> bool:
        return self.over


class Broken(Call):
    __slots__ = ()

    def describe(self) -> str:
        raise KeyError("gone")


@pytest.fixture
def tracking() -> Iterator[None]:
    with warnings.catch_warnings():
        debug.track_abandoned_calls()
        yield
        debug.track_abandoned_calls(False)


def test_what_is_armed_on_the_thread_is_listed_soonest_first() -> None:
    call, alarm = Call(), timers().alarm(lambda: None)
    alarm.arm(clock() + 3600)
    call.start(timers().lane(60.0), clock())
    cancelled = Call()
    cancelled.start(timers().lane(60.0), clock())
    cancelled.cancel()
    first, second = debug.timers()
    assert (first.owner, first.duration, first.queue) == ("call of /shop.Orders/Buy", 60.0, THREAD)
    assert 50 < first.fires_in <= 60
    assert second.duration is None
    assert second.owner.endswith("test_what_is_armed_on_the_thread_is_listed_soonest_first.<locals>.<lambda>")
    assert 3590 < second.fires_in <= 3600
    call.cancel()
    alarm.cancel()
    assert debug.timers() == []


async def test_what_is_armed_on_a_loop_is_listed_from_any_thread() -> None:
    call = Call()
    call.start(loop_timers().lane(30.0), asyncio.get_running_loop().time())
    alarm = loop_timers().alarm(lambda: None)
    fired = asyncio.Event()
    loop_timers().alarm(fired.set).arm(0.0)
    await asyncio.wait_for(fired.wait(), PATIENCE)  # the queue has seen its thread
    table = await asyncio.to_thread(debug.timers)
    (row,) = (row for row in table if row.queue.startswith("loop "))
    assert row.queue.endswith(f" on {threading.current_thread().name}")
    assert 20 < row.fires_in <= 30
    assert table.by_queue[row.queue].count == 1
    call.cancel()
    alarm.cancel()


def test_timers_of_all_lengths_are_listed_soonest_first() -> None:
    calls = [Call(), Call(), Call()]
    for call, seconds in zip(calls, (50.0, 40.0, 45.0), strict=True):
        call.start(timers().lane(seconds), clock())
    assert [row.duration for row in debug.timers()] == [40.0, 45.0, 50.0]
    for call in calls:
        call.cancel()


def test_loops_have_queues_of_their_own() -> None:
    async def arm(call: Call) -> None:
        call.start(loop_timers().lane(30.0), asyncio.get_running_loop().time())

    one, other = LoopThread(), LoopThread()
    calls = Call(), Call()
    try:
        one.run(arm(calls[0]))
        other.run(arm(calls[1]))
        assert len({row.queue for row in debug.timers()}) == 2
    finally:
        for call in calls:
            call.cancel()
        one.close()
        other.close()


def test_lateness_counts_what_fired() -> None:
    before = debug.timers().by_queue[THREAD].count
    done = threading.Event()
    timers().alarm(lambda: None).arm(clock() - 0.5)
    timers().alarm(done.set).arm(clock())
    assert done.wait(PATIENCE)
    table = debug.timers()
    assert table.by_queue[THREAD].count == before + 2
    assert table.lateness.max >= 0.5
    assert table.lateness.count >= table.by_queue[THREAD].count


def test_the_table_is_for_people_and_short() -> None:
    calls = [Call() for _ in range(60)]
    for call in calls:
        call.start(timers().lane(60.0), clock())
    lines = str(debug.timers()).splitlines()
    assert lines[0].startswith(f"{THREAD}: ")
    assert "late by" in lines[0]
    (headings,) = (line for line in lines if "fires in" in line)
    assert headings.split() == ["fires", "in", "armed", "for", "queue", "owner"]
    assert sum("60.000 s" in line and "call of /shop.Orders/Buy" in line for line in lines) == 50
    assert lines[-1] == "and 10 more"
    for call in calls:
        call.cancel()
    assert "fires in" not in str(debug.timers())


def test_an_owner_that_cannot_be_described_spoils_nothing() -> None:
    call = Broken()
    call.start(timers().lane(60.0), clock())
    (row,) = debug.timers()
    call.cancel()
    assert row.owner == "Broken (KeyError('gone'))"


class Vanishing(Call):
    """Cancelled between two looks."""

    __slots__ = ()

    @property
    def armed(self) -> bool:
        return not self.over


def test_a_timer_that_is_cancelled_meanwhile_is_left_out() -> None:
    call = Vanishing()
    call.start(timers().lane(60.0), clock())
    call.cancel()
    assert debug.timers() == []
    call.over = True


def test_nothing_is_tracked_unless_asked_for() -> None:
    assert not _abandoned.enabled
    assert _abandoned.place() is None
    _abandoned.watch(Call(), "/a/B", None)
    with pytest.raises(RuntimeError, match="track_abandoned_calls"):
        debug.calls()


@pytest.mark.usefixtures("tracking")
def test_calls_in_flight_are_listed_until_they_are_done_or_gone() -> None:
    kept, done, gone = Call(), Call(), Call()
    for number in range(3):
        _abandoned.watch((kept, done, gone)[number], f"/shop.Orders/Buy{number}", _abandoned.place())
    assert [watched.method for watched in debug.calls()] == [f"/shop.Orders/Buy{number}" for number in range(3)]
    done.over = True
    del gone
    gc.collect()
    (left,) = debug.calls()
    assert left.method == "/shop.Orders/Buy0"
    assert left.place is not None
    assert left.place.startswith(f"{__file__}:")
    assert left.age >= 0


def warn_of(*places: str | None) -> None:
    for place in places:
        _abandoned.warn(place, "/shop.Orders/Buy")


@pytest.mark.usefixtures("tracking")
def test_an_abandoned_call_is_warned_about_once_where_it_was_made() -> None:
    places = [_abandoned.place() for _ in range(3)]
    with pytest.warns(ResourceWarning, match=r"/shop\.Orders/Buy was dropped") as caught:
        warn_of(*places)
    (warning,) = caught
    assert f"{warning.filename}:{warning.lineno}" == places[0]
    with pytest.warns(ResourceWarning):
        warn_of(_abandoned.place())  # another line
    warn_of(None)  # made before tracking: silent


@pytest.mark.usefixtures("tracking")
def test_the_number_of_places_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_abandoned, "MOST_PLACES", 2)
    with pytest.warns(ResourceWarning) as caught:
        warn_of(*(f"file.py:{line}" for line in range(5)))
    assert len(caught) == 2


@pytest.mark.usefixtures("tracking")
def test_a_place_is_outside_of_this_library_and_grpc() -> None:
    places: list[Any] = []
    scope: dict[str, Any] = {"place": _abandoned.place, "places": places}
    inside = str(Path(_abandoned.__file__).parent / "channel" / "sync.py")
    exec(compile("def call(): places.append(place())", inside, "exec"), scope)
    scope["call"]()
    assert places[0].startswith(f"{__file__}:")


@pytest.mark.parametrize(
    ("value", "flags", "seen"),
    [("1", [], True), ("0", [], False), ("", [], False), ("1", ["-W", "ignore"], False)],
)
def test_the_environment_turns_tracking_on(tmp_path: Path, value: str, flags: list[str], seen: bool) -> None:
    program = tmp_path / "program.py"
    program.write_text("from grpc_heartbeat import _abandoned as a\na.warn(a.place(), '/a/B')\nprint(a.enabled)\n")
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "GRPC_HEARTBEAT_DEBUG": value, "PYTHONPATH": root}
    environment.pop("PYTHONWARNINGS", None)
    done = subprocess.run(
        [sys.executable, *flags, str(program)], env=environment, capture_output=True, text=True, timeout=30
    )
    assert done.stdout.strip() == str(value == "1")
    assert ("program.py:2: ResourceWarning: grpc-heartbeat: a call of /a/B" in done.stderr) is seen
