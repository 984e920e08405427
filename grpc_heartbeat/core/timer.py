"""The timers of a :class:`~grpc_heartbeat.core.timers.TimerQueue`, which has the theory and the memory rules named here.

The cheapest timer for something that exists anyway, such as a call in flight, is that thing itself. Derive its class from
:class:`Timer`, override ``fire`` (and ``describe``, for people), and::

    lane = timers().lane(3.0)       # once per policy, not per call
    call = Call(...)                # its __init__ need not call ours
    call.start(lane, clock())       # once per object: arms it, and initialises what a timer needs
    call.when = None                # all that cancel() does
    call.arm_at(instant)            # look again then: from fire(), or at any time from any thread

That is no object, no callback and no entry besides. The queue holds the object until its time or a sweep comes, cancelled or
not: let it drop what is large, and do not let it hold what others watch by a weak reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from grpc_heartbeat.core.lane import Lane

Callback: TypeAlias = Callable[[], object]

_NOT_YET = math.inf


class Entry:
    """A place in the queue: when to look at which timer."""

    __slots__ = ("due", "timer")

    def __init__(self, due: float, timer: Timer) -> None:
        self.due = due
        self.timer = timer


class Timer:
    """One timer, armed and cancelled any number of times. It is its own first entry, which saves an object per call."""

    __slots__ = ("_claimed", "_entry", "_lane", "due", "when")

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._entry: Entry | Timer | None = None
        self._claimed: float | None = None
        self.due = _NOT_YET
        """When its first entry comes due; infinite before it was armed. Not to be stored from outside."""
        self.when: float | None = None
        """The instant at which it was last asked to fire; ``None`` after :meth:`cancel`."""

    def fire(self) -> object:
        """Do what is to be done at the time. The driver calls this."""
        raise NotImplementedError(f"{type(self).__name__}.fire")

    def describe(self) -> str:
        """Return whose it is and what for, in words. Only debugging asks."""
        return type(self).__qualname__

    @property
    def timer(self) -> Timer:
        """Itself, as the timer of its first entry."""
        return self

    @property
    def armed(self) -> bool:
        """Whether it will fire if nothing else happens."""
        when = self.when
        return when is not None and when is not self._claimed

    @property
    def duration(self) -> float | None:
        """The seconds that it is armed for, by ``start`` or a time-out's ``arm``; ``None`` for an alarm."""
        duration = self._lane.duration
        return None if math.isnan(duration) else duration

    def start(self, lane: Lane, now: float) -> None:
        """Fire one ``lane.duration`` after ``now``. Call it once per object, before anything else."""
        self._lane = lane
        self._claimed = None
        self.when = self.due = when = now + lane.duration
        self._entry = self
        entries = lane.entries
        entries.append(self)
        if when < lane.queue.horizon:
            lane.queue.hasten(when)
        if len(entries) > lane.limit:
            lane.ask_driver()

    def arm_at(self, when: float) -> None:
        """Fire at ``when`` on the driver's clock instead, at once if that is past."""
        self.when = when = when + 0.0  # a new object: rule 3 compares identities
        entry = self._entry
        if entry is None or when < entry.due:
            inbox = self._lane.queue.inbox
            self._entry = entry = Entry(when, self)
            inbox.add(entry)

    def cancel(self) -> None:
        """Ask it not to fire. What is already on its way still comes."""
        self.when = None


class _CallbackTimer(Timer):
    """A timer that calls a function."""

    __slots__ = ("callback",)

    def __init__(self, lane: Lane, callback: Callback) -> None:
        self._lane = lane
        self._entry = None
        self._claimed = None
        self.due = _NOT_YET
        self.when = None
        self.callback = callback

    def fire(self) -> object:
        return self.callback()

    def describe(self) -> str:
        """Return the words of the object whose method is called, if it has any, and the method's name."""
        callback = self.callback
        name = f"{getattr(callback, '__module__', '?')}.{getattr(callback, '__qualname__', repr(callback))}"
        describe = getattr(getattr(callback, "__self__", None), "describe", None)
        return f"{name}: {describe()}" if callable(describe) else name


class Timeout(_CallbackTimer):
    """A timer of constant length; arming it again restarts it."""

    __slots__ = ()

    def arm(self, now: float) -> None:
        """Fire ``duration`` seconds after ``now``, a reading of the driver's clock."""
        lane = self._lane
        self.when = when = now + lane.duration
        current = self._entry
        if current is None or when < current.due:  # the latter after ``arm_at``
            if self.due is _NOT_YET:
                self.due = when
                self._entry = entry = self
                lane.add(entry)
            else:
                self._entry = other = Entry(when, self)
                lane.add(other)


class Alarm(_CallbackTimer):
    """A timer for instants; arming it again moves it."""

    __slots__ = ()

    def arm(self, when: float) -> None:
        """Fire at ``when`` on the driver's clock, at once if that is past."""
        self.arm_at(when)
