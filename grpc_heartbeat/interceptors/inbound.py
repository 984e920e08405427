"""The beginning and the end of an inbound RPC, seen from its handler: a scope is opened, and told how it ended."""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from grpc_heartbeat import _faults, _in_flight
from grpc_heartbeat._call_events import rpc_ends, rpc_starts
from grpc_heartbeat._types import Metadata
from grpc_heartbeat.core.deadline import inbound_deadline
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.core.server_events import RpcEnded
from grpc_heartbeat.interceptors.method import Method
from grpc_heartbeat.interceptors.server_state import end_scope

if TYPE_CHECKING:
    from grpc_heartbeat.core.timer import Timer
    from grpc_heartbeat.interceptors.accepting_aio import AcceptingContext
    from grpc_heartbeat.interceptors.limiting_aio import AioLimit

EXPIRY_TOLERANCE = 0.02
"""Seconds. A client whose deadline passes resets the stream, and that reset may overtake our own reckoning of the same
deadline by the time that the request was under way. A reset this close to the deadline is called expiry."""


class InboundScope(Scope):
    """The scope of an inbound RPC. It is kept track of only when something depends on it: most handlers make no calls."""

    watched = False
    limit_timer: Timer | None = None
    """Ends the RPC when the server's own limit passes."""
    entered: float | None = None
    """When its handler started, if somebody wants to hear of its end."""
    counted = False
    """Whether it is counted as in flight."""

    def __init__(self, deadline: float | None, method: Method) -> None:  # all of Scope's, without its frame
        self.deadline = deadline
        self.source = method.source
        self.method = method.path
        self.members = set()
        self.server = method.server

    @property
    def draining(self) -> bool:
        return self.server.draining

    def watch(self) -> None:
        self.watched = True
        self.server.live.add(self)
        if self.server.called_off:  # looked at after adding: who calls off looks through `live` after that mark
            end_scope(self, Reason.DRAINING)

    def finish(self) -> None:
        """Note that the handler has let go, and that the work ended with it, unless it was cancelled before."""
        if self.counted or self.entered is not None:
            handler_over(self)
        self.finished = self.reason is None
        self.members.clear()
        if self.watched or self.limit_timer is not None:
            self.over()

    def over(self) -> None:
        """Let go of what belongs to an RPC in flight. Called when it ends, or its handler, whichever is first."""
        if self.watched:
            self.server.live.discard(self)
        if self.limit_timer is not None:
            self.limit_timer.cancel()


class ArrivingScope(InboundScope):
    """A scope that is made and becomes current when its RPC arrives, which saves the setting of another context variable.

    Until its handler begins it passes for one that has finished: nothing is inherited from it. Whoever makes one stores what is
    known then: an ``__init__`` would cost every RPC a frame.

    Attributes:
        arrived: When the RPC arrived, if that was seen.
        metadata: The RPC's invocation metadata, where asking the context for it would parse it again.
        method: Empty until the handler begins; each scope is for one run of a handler.
        context: What the handler gets, while it runs.
        task: On asyncio, the RPC's task while its handler runs; of handlers that are plain functions, none.
    """

    if TYPE_CHECKING:

        def __init__(self) -> None: ...
    else:
        __init__ = object.__init__
    arrived: float | None = None
    metadata: Metadata | None = None
    deadline: float | None = None
    source = ""
    method = ""
    finished = True
    context: Any = None
    task: asyncio.Task[Any] | None = None

    def finish(self) -> None:  # all of the base's, without its frames
        if self.counted:
            self.counted = False
            _in_flight.end()
        if self.entered is not None:
            handler_over(self)
        self.finished = self.reason is None
        self.members.clear()
        if self.watched or self.limit_timer is not None:
            self.over()
        self.context = self.task = None


class SyncScope(ArrivingScope):
    """On the sync stack, the context tells of the RPC's end if it is asked to, which costs a lock.

    Attributes:
        began: When the handler began, where the RPC may be accepted early.
    """

    began = 0.0

    @property
    def pending(self) -> bool:
        """Whether its handler runs and somebody still wants it to."""
        return not self.finished and self.reason is None and self.context is not None

    def watch(self) -> None:
        context = self.context  # first: ``let_go`` drops it as soon as the scope is watched
        super().watch()
        if context is None:
            return
        try:
            # The callback comes when the RPC is cancelled, when its deadline passes, and also after it completed normally.
            if not context.add_callback(partial(rpc_ended, self)):
                rpc_ended(self)
        except Exception as error:
            _faults.record("server.watch", error)

    def let_go(self) -> None:
        """Let go of a handler that was dropped, as a stream of responses is when its RPC ends first: it has no ``finish``.

        Whoever relies on the scope is told of the end, now or by the callback. The context, which has the RPC, which has the
        scope, would be in a cycle with it.
        """
        if not self.watched and not self.finished:
            self.watch()
        self.context = None


class AioScope(ArrivingScope):
    """On the asyncio stack, the end of an RPC is a cancel of its task, which looks like any other.

    Attributes:
        accepting: The same as ``context``, if the RPC may be accepted early.
        limit: The server's own limit, if there is one.
    """

    accepting: AcceptingContext | None = None
    limit: AioLimit | None = None

    def why(self, now: float) -> Reason | None:
        reason = super().why(now)
        if reason in (None, Reason.DRAINING) and self.task is not None and _is_cancelling(self.task):
            return _reason_of_reset(self, now)
        return reason


def _is_cancelling(task: asyncio.Task[Any]) -> bool:
    cancelling = getattr(task, "cancelling", None)  # since Python 3.11
    return cancelling is not None and cancelling() > 0


def deadline_of(context: Any, metadata: Metadata | None, now: float, arrived: float | None) -> float | None:
    """Return the instant at which an RPC's budget ends; ``None`` when the context cannot tell (the fault is recorded)."""
    try:
        return inbound_deadline(context.time_remaining(), metadata, now, arrived)
    except Exception as error:
        _faults.record("server.deadline_of", error)
        return None


def tell_started(scope: InboundScope, now: float, arrived: float | None) -> None:
    """Tell those who hear of it that the handler of an RPC starts."""
    if rpc_ends.listening:
        scope.entered = now
    rpc_starts.tell(scope.method, now, scope.remaining(now), 0.0 if arrived is None else now - arrived)


def handler_over(scope: InboundScope) -> None:
    """Note that the handler has let go; tell those who hear of ends. More than once is not too often."""
    if scope.counted:
        scope.counted = False
        _in_flight.end()
    entered = scope.entered
    if entered is None:
        return
    scope.entered = None
    now = monotonic()
    reason = scope.why(now)
    rpc_ends.emit(
        RpcEnded(now, scope.method, scope.remaining(now), now - entered, None if reason is None else reason.value)
    )


def rpc_ended(scope: InboundScope) -> None:
    """Cancel what was started on behalf of an RPC that ended before its handler did. Never raises."""
    if not scope.finished:
        end_scope(scope, _reason_of_reset(scope, monotonic()))
    scope.over()


def _reason_of_reset(scope: Scope, now: float) -> Reason:
    left = scope.remaining(now)
    return Reason.EXPIRED if left is not None and left <= EXPIRY_TOLERANCE else Reason.CLIENT_CANCELLED
