"""One asyncio call in flight: its limits, its scope, and how its end is told.

Theory of operation. A ``Flight`` belongs to a call object of ``calls_aio``. It is at once the call's one timer, the member of
the scope that the call was made in, and the memory of why we ended the call, if we did. It knows grpcio's call but never the
application's call object: that one can be dropped, and says so, while timers and scopes hold the flight.

When its timer fires, ``fire`` looks at what is true now (is the call done, has the channel a connection, has the server
accepted) and lets the ``Guard`` judge, which is made when it is first needed. Before a call is ended it is looked at again, at
least once: a loop that was blocked hears of events and of the time at once, and a process that is short of CPU hears of the
time first. A look that comes late itself proves nothing, so another one follows, ``_MOST_LOOKS`` at most. Last of all the loop
goes round a few times, so that what it has received is with whom it is for.

An early end is told like this. Whoever ends the call stores the ``verdict`` and cancels grpcio's call. What grpcio then raises
in the awaiting task is a ``CancelledError``, which ``ours`` turns into the verdict's error, unless the task itself was
cancelled, too. An end that gRPC gave is put into words by ``told``.

All of it happens on the loop's thread, but a scope may be cancelled by any thread and a call dropped in any.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from grpc_heartbeat import _abandoned, _faults, _grpcio_aio
from grpc_heartbeat._call_events import call_events, tell_flight_ended
from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat.channel.connection_aio import UNKNOWN, Connection
from grpc_heartbeat.channel.layers import Layers
from grpc_heartbeat.core.guard import Ending, Guard, Stage
from grpc_heartbeat.core.lane import Lane
from grpc_heartbeat.core.limits import Limits, Part
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.core.timers import Timer
from grpc_heartbeat.core.wording import Verdict, ended_by_grpc, ended_by_layer, ended_by_scope
from grpc_heartbeat.errors import AioEndedCall, timeout_of

_PUNCTUAL = 0.005
"""Seconds by which a timer of a loop that is not blocked may be late."""
_GRACE = 0.02
"""Seconds that a loop which was blocked has to hear of what happened meanwhile."""
_MOST_LOOKS = 6
"""Looks at a call that is late, however late they are themselves."""
_ROUNDS = 4
"""Rounds of the loop from when gRPC's event is there until the task that waits for it has it, with one to spare."""


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, or ``None``."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


FAILED_WRITE = "Internal error from Core"
"""What grpcio says of a write that failed because the call has ended, before it says what it has ended with."""

COUNTS_CANCELS = sys.version_info >= (3, 11)
"""Whether a task knows how often it was asked to cancel."""

if sys.version_info >= (3, 11):

    def cancel_requests() -> int:
        """Return how often the current task was asked to cancel. Python 3.10 does not tell: there it is always 0."""
        task = asyncio.current_task()
        return 0 if task is None else task.cancelling()

    def forget_cancel_request(task: asyncio.Task[Any]) -> None:
        """Take back a request to cancel ``task`` that was of our making."""
        task.uncancel()
else:

    def cancel_requests() -> int:
        """Return how often the current task was asked to cancel. Python 3.10 does not tell: there it is always 0."""
        return 0

    def forget_cancel_request(task: asyncio.Task[Any]) -> None:
        """Do nothing: Python 3.10 does not count."""


class LoopLayers(Layers):
    """``Layers`` that keep the timer lane of the loop that their calls run on."""

    __slots__ = ("_lane", "_loop")
    _lane: Lane

    def __init__(self, limits: Limits, without: tuple[Part, ...] = (), fixed: bool = True) -> None:
        super().__init__(limits, without, fixed)
        self._loop: asyncio.AbstractEventLoop | None = None

    def lane(self, loop: asyncio.AbstractEventLoop) -> Lane:
        """Return the lane for calls that have a connection; there must be something to watch for these."""
        if loop is not self._loop and self.on_ready is not None:
            self._loop = loop
            self._lane = loop_timers(loop).lane(self.on_ready)
        return self._lane


class Flight(Timer):
    """One call in flight. Its maker stores ``method``, ``layers``, ``connection``, ``started``, and what differs from here."""

    # Defaults on the class: this is made for every call that is limited, and an __init__ would cost a frame. The timer's own
    # is done when it is first armed.
    if TYPE_CHECKING:

        def __init__(self) -> None: ...
    else:
        __init__ = object.__init__
    method: str
    layers: LoopLayers
    connection: Connection
    started: float
    call: Any = None
    """grpcio's call; ``None`` when it is over, because the timer queue may hold this object for a while."""
    limit: float | None = None
    """The seconds that gRPC was given."""
    timeout: object = None
    """The call's own time-out."""
    scope: Scope | None = None
    loop: asyncio.AbstractEventLoop | None = None
    ready = True
    """Whether there was a connection when the call started."""
    verdict: Verdict | None = None
    """How we have ended the call, if we have."""
    late = False
    """Whether the call was over before anybody looked, so that nobody knows when it ended."""
    cancelled = False
    """Whether the application has cancelled the call."""
    made_at: str | None = None
    origin: Context | None = None
    """What was current where the call was made, if somebody wants to hear of early ends."""
    reported = False
    """Whether they have heard of this one."""
    waiters: tuple[asyncio.Task[Any], ...] = ()
    """Tasks that wait where grpcio does not wake them when the call is cancelled: to write before there is a connection."""
    woken: Sequence[asyncio.Task[Any]] = ()
    """Those that were cancelled to wake them."""
    _guard: Guard | None = None
    _told: Verdict | None = None
    _asked = False
    _waits = False
    _started = False
    _looks = 0
    _look_due = 0.0

    @property
    def seen(self) -> Verdict | None:
        """How the call ended by a limit, if it did and that is known by now."""
        return self.verdict or self._told

    @property
    def guard(self) -> Guard:
        """The judge of this call."""
        guard = self._guard
        if guard is None:
            self._guard = guard = Guard(self.layers.limits, self.started, self.ready)
        return guard

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

    # How the end is told.

    def ours(self, requests_before: int) -> AioEndedCall | None:
        """Return the error to raise instead of a ``CancelledError``, or ``None`` if that one is not of our making.

        Args:
            requests_before: What ``cancel_requests`` said before the task began to wait.
        """
        verdict = self.verdict or self._cancelled_inside()
        return None if verdict is None or cancel_requests() != requests_before else AioEndedCall(verdict)

    def _cancelled_inside(self) -> Verdict | None:
        """Return how the end of a call is told that grpcio itself has cancelled, or ``None``.

        Its reader of request iterators does so when it finds the call dead, as after its deadline.
        """
        limit = self.limit
        if not COUNTS_CANCELS or self.cancelled or limit is None or monotonic() < self.started + limit:
            return None
        return self.told(grpc.StatusCode.CANCELLED, "Deadline Exceeded")

    def tell(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """Return ``error``, with which gRPC ended the call, or one in its place that says which limit was spent."""
        try:
            facts = timeout_of(error)
            if facts is not None:  # one of ours underneath has told it
                self._asked = True
                self._told = Verdict(error.code().name, error.details() or "", facts)
                return error
            verdict = self.told(error.code(), error.details() or "")
            if verdict is None:
                return error
            initial, trailing = error.initial_metadata(), error.trailing_metadata()
            return AioEndedCall(verdict, initial, trailing, error.debug_error_string())
        except Exception as fault:
            _faults.record("channel.tell_aio", fault)
            return error

    def told(self, code: grpc.StatusCode, details: str) -> Verdict | None:
        """Return how the end with ``code`` is told, or ``None`` when it has nothing to do with a limit or a scope."""
        if self.verdict is not None:
            return self.verdict
        if not self._asked:
            self._asked = details != FAILED_WRITE  # after which the real status comes
            self._told = self._judge(code.name, details)
            if self._told is not None and call_events:
                tell_flight_ended(self, self._told, self.connection)
        return self._told

    def _judge(self, status: str, details: str) -> Verdict | None:
        elapsed = monotonic() - self.started
        limit = self.limit
        if status == "INTERNAL" and details == FAILED_WRITE and limit is not None and elapsed >= limit:
            status, details = "DEADLINE_EXCEEDED", "Deadline Exceeded"
        if self.late and limit is not None and elapsed >= limit:
            # It ended at some time until now. gRPC does not say DEADLINE_EXCEEDED before its deadline, and what else it says
            # is believed.
            elapsed = limit if status == "DEADLINE_EXCEEDED" else limit * 0.999
        if status == "UNAVAILABLE":
            self.connection.remember(details)
            connect = self.layers.on_cold
            if connect is not None and elapsed >= connect and self._never_connected():
                ending = Ending("connect", connect, elapsed, self.layers.limits.source("connect"))
                return ended_by_layer(ending, self.method, self.connection.state(), details)
        return ended_by_grpc(
            status,
            details,
            self.method,
            self.timeout,
            self.layers.limits,
            self.scope,
            limit,
            elapsed,
            self.connection.state(),
        )

    def _never_connected(self) -> bool:
        return not self.ready and not self.late and self.guard.stage is Stage.CONNECTING


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


def on_loop(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: Any) -> None:
    """Call ``function`` on the loop soon, from any thread; a loop that is closed has no calls any more."""
    try:
        if loop is running_loop():
            loop.call_soon(function, *args)
        else:
            loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise
