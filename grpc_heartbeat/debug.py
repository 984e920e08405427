"""What this library waits for right now: ``print(debug.timers())``, and who dropped calls: ``debug.track_abandoned_calls()``.

What heartbeat streams this process holds for others is in ``debug.held_heartbeats()``.

Looking costs time in proportion to what is found and nothing before. The environment variable ``GRPC_HEARTBEAT_DEBUG=1`` turns
the tracking of abandoned calls on from the start.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from grpc_heartbeat import _abandoned
from grpc_heartbeat._loop_timers import LoopTimers, all_loop_timers
from grpc_heartbeat._timers import THREAD_NAME
from grpc_heartbeat._timers import timers as timer_thread
from grpc_heartbeat.core.held_report import HeldReport
from grpc_heartbeat.core.sketch import Sketch, Summary
from grpc_heartbeat.core.timers import Timer, TimerQueue

__all__ = [
    "ArmedTimer",
    "HeldReport",
    "Lateness",
    "TimerTable",
    "WatchedCall",
    "calls",
    "held_heartbeats",
    "timers",
    "track_abandoned_calls",
]

Lateness = Summary
"""How late timers fired, in seconds: ``count``, ``p50``, ``p99``, ``max``. Quantiles are at most 1/16 too high."""

_PRINTED = 50


@dataclass(frozen=True)
class ArmedTimer:
    """One timer that will fire.

    Args:
        fires_in: Seconds from now; negative when it is late.
        duration: Seconds that it was armed for; ``None`` for one that is armed for an instant.
        owner: Whose it is.
        queue: The thread or loop that fires it.
    """

    fires_in: float
    duration: float | None
    owner: str
    queue: str


class TimerTable(list[ArmedTimer]):
    """The armed timers, the soonest first; as text, a table of the first fifty.

    Args:
        rows: The timers.
        by_queue: The lateness of each queue.
        lateness: The lateness of all of them together.
    """

    def __init__(self, rows: Iterable[ArmedTimer], by_queue: dict[str, Lateness], lateness: Lateness) -> None:
        super().__init__(sorted(rows, key=lambda row: row.fires_in))
        self.by_queue = by_queue
        self.lateness = lateness

    def __str__(self) -> str:
        lines = [_late(queue, lateness) for queue, lateness in self.by_queue.items()]
        if self:
            lines += ["", f"{'fires in':>12}  {'armed for':>10}  {'queue':<30}  owner"]
        for row in self[:_PRINTED]:
            duration = "" if row.duration is None else f"{row.duration:.3f} s"
            lines.append(f"{row.fires_in:>10.3f} s  {duration:>10}  {row.queue:<30}  {row.owner}")
        if len(self) > _PRINTED:
            lines.append(f"and {len(self) - _PRINTED} more")
        return "\n".join(lines)


@dataclass(frozen=True)
class WatchedCall:
    """A call in flight.

    Args:
        method: Its full name.
        age: Seconds since it was made.
        place: Where it was made, as ``file:line``.
    """

    method: str
    age: float
    place: str | None


def timers() -> TimerTable:
    """Return what is armed in this process, on the timer thread and on every loop.

    It may be called from any thread, and is exact when nothing is armed or fired meanwhile.
    """
    queues = [(f"thread {THREAD_NAME}", timer_thread().queue, time.monotonic())]
    for loop_timers in all_loop_timers():
        loop = loop_timers.loop()
        if loop is not None:
            queues.append((_name(loop_timers), loop_timers.queue, loop.time()))
    rows = [row for name, queue, now in queues for row in _rows(name, queue, now)]
    by_queue = {name: queue.lateness.summary() for name, queue, _ in queues}
    return TimerTable(rows, by_queue, Sketch.merged(queue.lateness for _, queue, _ in queues).summary())


def held_heartbeats() -> list[HeldReport]:
    """Return, for each server of this process that answers heartbeats, how it moves their streams and what became of them."""
    held: Any = sys.modules.get("grpc_heartbeat.heartbeat.held")  # not there while nobody holds any
    found: list[HeldReport] = [] if held is None else held.held_reports()
    return found


def track_abandoned_calls(on: bool = True) -> None:
    """Remember where calls are made from now on, and warn once per place of those that are dropped without an end.

    Such calls are cancelled in any case. The warning is a ``ResourceWarning`` at the line that made the call. Python hides that
    kind by default; unless it was told otherwise (``-W``, ``PYTHONWARNINGS``) this lets ours through.
    """
    _abandoned.switch(on)


def calls() -> list[WatchedCall]:
    """Return the calls in flight that were made since :func:`track_abandoned_calls`, the oldest first.

    Raises:
        RuntimeError: calls are not tracked.
    """
    if not _abandoned.enabled:
        raise RuntimeError("calls are not tracked: call debug.track_abandoned_calls(), or set GRPC_HEARTBEAT_DEBUG=1")
    now = time.monotonic()
    found = [WatchedCall(call.method, now - call.since, call.place) for call in _abandoned.watched()]
    return sorted(found, key=lambda call: -call.age)


def _rows(name: str, queue: TimerQueue, now: float) -> Iterable[ArmedTimer]:
    for timer in queue.armed():
        when = timer.when
        if when is not None:  # not cancelled meanwhile
            yield ArmedTimer(when - now, timer.duration, _owner(timer), name)


def _owner(timer: Timer) -> str:
    try:
        return timer.describe()
    except Exception as error:  # whoever debugs has trouble enough
        return f"{type(timer).__qualname__} ({error!r})"


def _name(timers: LoopTimers) -> str:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    where = names.get(timers.thread, "?") if timers.thread else "?"
    return f"loop {id(timers.loop()):#x} on {where}"


def _late(queue: str, late: Lateness) -> str:
    return (
        f"{queue}: {late.count} fired, late by {late.p50 * 1e3:.2f} ms (p50), {late.p99 * 1e3:.2f} ms (p99), "
        f"{late.max * 1e3:.2f} ms (max)"
    )
