"""One asyncio call in flight: its limits and its scope.

Theory of operation. A ``Flight`` belongs to a call object of ``calls_aio``. It is at once the call's one timer, the member of
the scope that the call was made in, and the memory of why we ended the call, if we did (``told_aio``). It knows grpcio's call
but never the application's call object: that one can be dropped, and says so, while timers and scopes hold the flight.

When its timer fires, ``fire`` looks at what is true now (is the call done, has the channel a connection, has the server
accepted) and lets the ``Guard`` judge, which is made when it is first needed. Before a call is ended it is looked at again, at
least once: a loop that was blocked hears of events and of the time at once, and a process that is short of CPU hears of the
time first. A look that comes late itself proves nothing, so another one follows, ``_MOST_LOOKS`` at most. Last of all the loop
goes round a few times, so that what it has received is with whom it is for.

All of it happens on the loop's thread, but a scope may be cancelled by any thread and a call dropped in any.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any

from grpc_heartbeat import _abandoned, _faults, _grpcio_aio
from grpc_heartbeat._call_events import call_events, tell_flight_ended
from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat.channel.connection_aio import UNKNOWN
from grpc_heartbeat.channel.loops_aio import on_loop, running_loop
from grpc_heartbeat.channel.told_aio import ToldCall
from grpc_heartbeat.core.guard import Ending, Guard, Stage
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.core.timers import Timer
from grpc_heartbeat.core.wording import Verdict, ended_by_layer, ended_by_scope

_PUNCTUAL = 0.005
"""Seconds by which a timer of a loop that is not blocked may be late."""
_GRACE = 0.02
"""Seconds that a loop which was blocked has to hear of what happened meanwhile."""
_MOST_LOOKS = 6
"""Looks at a call that is late, however late they are themselves."""
_ROUNDS = 4
"""Rounds of the loop from when gRPC's event is there until the task that waits for it has it, with one to spare."""


class Flight(ToldCall, Timer):
    """One call in flight."""

    # Defaults on the class: this is made for every call that is limited, and an __init__ would cost a frame. The timer's own
    # is done when it is first armed.
    if TYPE_CHECKING:

        def __init__(self) -> None: ...
    else:
        __init__ = object.__init__
    call: Any = None
    """grpcio's call; ``None`` when it is over, because the timer queue may hold this object for a while."""
    loop: asyncio.AbstractEventLoop | None = None
    made_at: str | None = None
    """Where in the application, if dropped calls are warned of."""
    waiters: tuple[asyncio.Task[Any], ...] = ()
    """Tasks that wait where grpcio does not wake them when the call is cancelled: to write before there is a connection."""
    woken: Sequence[asyncio.Task[Any]] = ()
    """Those that were cancelled to wake them."""
    _waits = False
    _started = False
    _looks = 0
    _look_due = 0.0

    # The way of a call, in order.

    def prepare_messages(self) -> None:
        """Be ready to be told of single messages, if they are limited. Before the call is made."""
        if self.layers.limits.per_message:
            self._guard = Guard(self.layers.limits, self.started, self.ready)

    def begin(self, call: Any) -> None:
        """Watch over ``call``. Everything but ``loop`` must have been stored."""
        self.call = call
        connection = self.connection
        loop = connection.loop
        if loop is None:
            loop = running_loop()
            if connection is not UNKNOWN:  # that one is shared by channels of many loops
                connection.loop = loop
        self.loop = loop
        if call_events.listening:
            self.origin = copy_context()
        scope = self.scope
        if scope is not None:
            # What ``scope.adopt`` does, without its frame.
            scope.members.add(self)
            if not scope.watched:
                scope.watch()
            if scope.reason is not None:
                self.scope_cancelled(scope)
        layers = self.layers
        if loop is not None and layers.watched and not (self.ready and layers.on_ready is None):
            self._watch(loop)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        layers = self.layers
        if self.ready:
            if layers.on_ready is not None:
                if layers.fixed:
                    self._started = True
                    self.start(layers.lane(loop), loop.time())
                else:
                    self._look(self.started + layers.on_ready)
        elif self.call is not None:  # its scope may have ended it
            if layers.on_cold is not None:
                self._look(self.started + layers.on_cold)
            self._waits = True
            self.connection.wait(self, loop)

    def awaited(self) -> None:
        """Catch up on what ``begin`` could not do, where it ran outside of a loop."""
        if self.loop is None and self.call is not None:
            self.loop = loop = asyncio.get_running_loop()
            if self.layers.watched:
                self._watch(loop)

    def connected(self) -> None:
        """The channel has a connection: the time until the call is accepted runs from now."""
        self._waits = False
        if self.call is not None:
            when = self.guard.connected(monotonic())
            if when is None:
                self.cancel()
            else:
                self._look(when)

    def release(self) -> None:
        """Stop to watch: the call is over. Idempotent."""
        self.call = None
        self.when = None
        if self._waits:
            self._waits = False
            self.connection.leave(self)
        scope = self.scope
        if scope is not None:  # what its ``release`` does
            scope.members.discard(self)
            if scope.ended:
                scope.release(self)

    # Ends of our making.

    def fire(self) -> None:
        """Judge the call by what is true now."""
        call = self.call
        if call is None:
            return
        if call.done():
            self.release()
            return
        now = monotonic()
        guard = self.guard
        if guard.stage is not Stage.OPEN:
            accepted = headers_came(call)
            if guard.stage is Stage.CONNECTING and self.connection.ready():
                guard.connected(now)
            if accepted and guard.stage is Stage.CONNECTING:
                again = guard.claimed(now)
                if again is not None:
                    self._look(again)
                    return
            elif accepted or (accepted is None and guard.stage is Stage.WAITING):
                guard.accepted()
        found = guard.check(now)
        if not isinstance(found, Ending):
            self._looks = 0
            if found is not None:
                self._look(found)
        elif not self._is_sure(found, now):
            pass
        elif found.layer == "connect":
            self.connection.ask(lambda last_error: self._end_unconnected(found, last_error))
        else:
            self._end(ended_by_layer(found, self.method, self.connection.state()))

    def _is_sure(self, found: Ending, now: float) -> bool:
        """Tell whether the call is to be ended now; if not, see to it that it is looked at again."""
        looks = self._looks = self._looks + 1
        if looks > _MOST_LOOKS:
            return True
        if looks == 1:
            self._look_due = now - (found.elapsed - found.limit)
        late = now > self._look_due + _PUNCTUAL
        if (looks > 1 and not late) or looks == _MOST_LOOKS:
            self._looks = _MOST_LOOKS
            self._after_rounds(_ROUNDS)
        else:
            self._look_due = now + (_GRACE if late else _PUNCTUAL)
            self._look(self._look_due)
        return False

    def _after_rounds(self, rounds: int) -> None:
        """Look again after so many rounds of the loop."""
        loop = self.loop
        if rounds and loop is not None:
            loop.call_soon(self._after_rounds, rounds - 1)
            return
        try:
            self.fire()
        except Exception as error:
            _faults.record("channel.look_aio", error)

    def describe(self) -> str:
        """Return what this timer is for."""
        return f"the limits of a call of {self.method}"

    def _look(self, when: float) -> None:
        """Have ``fire`` called at ``when`` on the monotonic clock, which need not be the loop's."""
        loop = self.loop
        if loop is None:
            return
        if not self._started:
            self._started = True
            Timer.__init__(self, loop_timers(loop).queue.inbox)
        self.arm_at(loop.time() + (when - monotonic()))

    def _end_unconnected(self, ending: Ending, last_error: str | None) -> None:
        if self.call is None or self.guard.stage is not Stage.CONNECTING:
            return
        if self.connection.ready():
            self._looks = 0
            self.connected()
        else:
            self._end(ended_by_layer(ending, self.method, self.connection.state(), last_error))

    def scope_cancelled(self, scope: Scope) -> None:
        """End now. From any thread."""
        loop = self.loop
        if loop is None or loop is running_loop():
            self._end_with(scope)
        else:
            on_loop(loop, self._end_with, scope)

    def _end_with(self, scope: Scope) -> None:
        if self.call is not None:
            elapsed = monotonic() - self.started
            self._end(ended_by_scope(scope, self.method, self.limit, elapsed, self.connection.state()))

    def _end(self, verdict: Verdict) -> None:
        call = self.call
        if call is None or call.done():
            return
        self.verdict = verdict  # first: the call's done-callbacks run inside cancel()
        self.release()
        if not _grpcio_aio.cancel(call):
            self.verdict = None
            return
        self.wake()
        if call_events:
            tell_flight_ended(self, verdict, self.connection)

    def wake(self) -> None:
        """Wake the ``waiters`` of a call that was cancelled."""
        if self.waiters:
            self.woken = [task for task in self.waiters if task is not asyncio.current_task()]
            for task in self.woken:
                task.cancel()

    def dropped(self, call: Any) -> None:
        """The application has let go of its call object for a response stream. From any thread."""
        if call.done():
            self.release()
            return
        _abandoned.warn(self.made_at, self.method)
        loop = self.loop
        if loop is None:
            self._abandon(call)
        else:
            on_loop(loop, self._abandon, call)

    def _abandon(self, call: Any) -> None:
        self.release()
        _grpcio_aio.cancel(call)


def headers_came(call: Any) -> bool | None:
    """Tell whether the server's initial metadata has come, without waiting for it; ``None`` where that cannot be seen.

    That is so while interceptors keep the call for themselves, as OpenTelemetry's do until the response is there.

    grpc.aio only lets one wait. A coroutine that is driven by hand ends in its first step if there is nothing to wait for.
    """
    asking = call.initial_metadata()
    try:
        future = asking.send(None)
    except StopIteration:
        return True
    except Exception:  # whatever it is, it has an answer
        return True
    # What a task does with a future that it is given to wait for. Else the next to wait for this one would fail.
    if asyncio.isfuture(future):
        future._asyncio_future_blocking = False
    asking.close()
    return None if isinstance(future, asyncio.Task) else False
