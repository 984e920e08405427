"""The driver of a ``Guard`` on the sync stack: one call in flight with its timer, its wait for a connection, its early end.

Theory of operation. A flight is its own timer. A call on a channel that is READY arms it and disarms it when it is done; its
``Guard`` may not even be made. When it fires, it looks at what is true now (does the channel have a connection, has the server
accepted), lets the guard judge, and arms itself for the next look. A look that comes late proves nothing: another one follows.
A call without a connection waits with its channel's other calls (``Connection``) to be told of one.

Threads: the application's, the timers' and the connection watch's meet here. ``done`` first stores ``over`` and then disarms;
whoever arms does so first and then looks at ``over``. The guard's stages are changed and judged under one lock of the
process: that happens only when a limit has passed or a connection has come.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Protocol

from grpc_heartbeat import _faults
from grpc_heartbeat._timers import clock, timers
from grpc_heartbeat.channel.connection import NOWHERE
from grpc_heartbeat.channel.layers import Layers
from grpc_heartbeat.core.guard import Ending, Guard, Stage
from grpc_heartbeat.core.timers import Timer
from grpc_heartbeat.core.wording import Verdict, ended_by_layer

_judging = threading.Lock()
_GRACE = 0.02
"""Seconds to wait for what is about to be known, before the call is judged."""
_PUNCTUAL = 0.02
"""Seconds by which a look may be late in a process that has the CPU it needs."""
_MOST_LOOKS = 5
"""Looks at a call that is late, however late they are themselves."""

_TRANSIENT_FAILURE = "TRANSIENT_FAILURE"


class Line(Protocol):
    """What a flight has to know of its channel's connection: ``Connection``, or less where there is no channel to ask."""

    @property
    def last_error(self) -> str | None:
        """What the last attempt to connect failed with, if that was heard of."""

    @property
    def poll(self) -> float | None:
        """Seconds between looks, where nobody tells a waiting call of a connection."""

    def ready(self) -> bool:
        """Tell whether there is a connection."""
        ...

    def state(self) -> str | None:
        """Return the channel's state, if it is known."""

    def rests(self) -> bool:
        """Tell whether it is seen that there is none, and that none is being made."""
        ...

    def wait(self, call: Any) -> None:
        """Tell ``call`` when there is a connection."""

    def leave(self, call: Any) -> None:
        """Forget ``call``."""

    def remember(self, details: str | None) -> None:
        """Take note of the details of a call that was UNAVAILABLE."""

    def ask(self, answer: Any) -> None:
        """Call ``answer`` with the last connection error."""


class Flight(Timer):
    """One call in flight. Subclasses end it (``_end``) and know whether it was accepted (``_accepted``).

    Args:
        method: Its full name.
        layers: What it is limited by.
        started: When it started.
        line: Its channel's connection.
    """

    over = False  # defaults on the class: this is made for every call that is limited
    ending: Verdict | None = None
    """How this flight has asked for the call's end, if it has."""
    ready = True
    """Whether there was a connection when the call started."""
    _guard: Guard | None = None
    _waits = False
    _asked_at: float | None = None
    _looks = 0
    _look_due = 0.0

    def __init__(self, method: str, layers: Layers, started: float, line: Line) -> None:
        self.method = method
        self.layers = layers
        self.started = started
        self.line = line

    @property
    def guard(self) -> Guard:
        """The judge of this call. Made when it is first needed."""
        guard = self._guard
        if guard is None:
            self._guard = guard = Guard(self.layers.limits, self.started, self.ready)
        return guard

    def share(self, other: Flight) -> None:
        """Go on with the guard of ``other``, which turned out to be this call."""
        self._guard = other._guard

    def begin(self) -> None:
        """Start to watch. ``ready`` must have been set. Never raises."""
        try:
            self._begin()
        except Exception as error:
            _faults.record("channel.begin", error)

    def _begin(self) -> None:
        layers = self.layers
        duration = layers.on_ready if self.ready else layers.on_cold
        if duration is not None and layers.fixed:
            self.start(timers().lane(duration), self.started)
        else:
            super().__init__(timers().queue.inbox)
            if duration is not None:
                self.arm_at(self.started + duration)
        if not self.ready:
            self._waits = True
            self.line.wait(self)
            if self.line.poll is not None:
                with _judging:
                    self._look_at(self.started + self.line.poll)
        if self.over:
            self.done()

    def done(self) -> None:
        """Stop to watch: the call has ended. Idempotent."""
        self.over = True
        self.when = None
        if self._waits:
            self.line.leave(self)
        self.line = NOWHERE  # the queue may hold this object until the limit has passed, but not its channel

    def connected(self) -> None:
        """The channel has a connection: the time until it is accepted runs from now."""
        with _judging:
            when = self.guard.connected(clock())
            if when is not None:
                self._look_at(when)

    def describe(self) -> str:
        """Return what is limited."""
        return f"a call of {self.method}"

    def fire(self) -> None:
        """Judge the call by what is true now."""
        if self.over:
            return
        with _judging:
            now = clock()
            found = self._judge(now)
            if isinstance(found, Ending):
                found = self._again(found, now) or found
            else:
                self._looks = 0
            if isinstance(found, float):
                self._look_at(found)
        if not isinstance(found, Ending):
            return
        line = self.line
        state = line.state()
        if found.layer != "connect":
            self._end(ended_by_layer(found, self.method, state))
        elif line.rests():
            # A channel does not rest while a call waits for it: it is about to wake, or the call has gone out already, on a
            # connection that is no more.
            with _judging:
                self._look_at(clock() + _GRACE)
        elif state == _TRANSIENT_FAILURE:
            line.ask(lambda last_error: self._end_unconnected(found, last_error))
        else:
            self._end_unconnected(found, line.last_error)

    def _again(self, found: Ending, now: float) -> float | None:
        """Return when to look once more, because this look came late: gRPC's threads may not have had their turn either."""
        due = self._look_due if self._looks else now - (found.elapsed - found.limit)
        self._looks += 1
        self._look_due = now + _GRACE
        return None if now <= due + _PUNCTUAL or self._looks >= _MOST_LOOKS else self._look_due

    def _judge(self, now: float) -> Ending | float | None:
        guard = self.guard
        if guard.stage is not Stage.OPEN:
            accepted = self._accepted()
            if accepted and guard.stage is Stage.CONNECTING and not self.line.ready():
                again = guard.claimed(now)
                if again is not None:
                    return again
            elif accepted:
                guard.accepted()
            elif guard.stage is Stage.CONNECTING and self.line.ready():
                guard.connected(now)
            elif accepted is None and guard.stage is Stage.WAITING and guard.limits.header is not None:
                if self._asked_at is None:
                    self._asked_at = now
                    self._ask_accepted()
                if now < self._asked_at + _GRACE:
                    return self._asked_at + _GRACE
        found = guard.check(now)
        if found is None and guard.stage is Stage.CONNECTING and self.line.poll is not None:
            return now + self.line.poll
        return found

    def _look_at(self, when: float) -> None:
        self.arm_at(when)
        if self.over:
            self.when = None

    def _end_unconnected(self, ending: Ending, last_error: str | None) -> None:
        if not self.over and self.guard.stage is Stage.CONNECTING:
            self._end(ended_by_layer(ending, self.method, self.line.state(), last_error))

    def missed_connection(self, line: Line, status: str, details: str, elapsed: float) -> Verdict | None:
        """Return how an end is told that gRPC gave before our timer fired, though the connect limit had passed."""
        limit = self.layers.on_cold
        if status != "UNAVAILABLE" or limit is None or elapsed < limit or self.ready:
            return None
        if self.guard.stage is not Stage.CONNECTING:
            return None
        ending = Ending("connect", limit, elapsed, self.layers.limits.source("connect"))
        return ended_by_layer(ending, self.method, line.state(), details)

    def _accepted(self) -> bool | None:
        """Tell whether the server has accepted the call; ``None`` where that cannot be looked at."""
        raise NotImplementedError

    def _ask_accepted(self) -> None:
        """Find out by waiting for it in a thread, and then ``note_accepted``; or give it the benefit of the doubt at once."""
        raise NotImplementedError

    def note_accepted(self) -> None:
        """The server has accepted the call."""
        with _judging:
            self.guard.accepted()

    def _end(self, verdict: Verdict) -> None:
        """End the call like this."""
        raise NotImplementedError


def in_a_thread(work: Any, place: str) -> None:
    """Run ``work``, which may block, where nobody waits for it."""

    def run() -> None:
        try:
            work()
        except Exception as error:
            _faults.record(place, error)

    threading.Thread(target=run, name="grpc-heartbeat-aside", daemon=True).start()


def _after_fork_in_child() -> None:
    global _judging
    _judging = threading.Lock()  # a thread that does not exist here may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
