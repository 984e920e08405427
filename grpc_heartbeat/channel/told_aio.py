"""What is known of one asyncio call, and how its end is told to whoever waits for it.

Whoever ends a call stores the ``verdict`` and cancels grpcio's call. What grpcio then raises in the awaiting task is a
``CancelledError``, which ``ours`` turns into the verdict's error, unless the task itself was cancelled, too. An end that gRPC
gave is put into words by ``told``.
"""

from __future__ import annotations

from contextvars import Context
from time import monotonic

import grpc
import grpc.aio

from grpc_heartbeat import _faults
from grpc_heartbeat._call_events import call_events, tell_flight_ended
from grpc_heartbeat.channel.connection_aio import Connection
from grpc_heartbeat.channel.layers_aio import LoopLayers
from grpc_heartbeat.channel.loops_aio import COUNTS_CANCELS, cancel_requests
from grpc_heartbeat.core.guard import Ending, Guard, Stage
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.core.wording import Verdict, ended_by_grpc, ended_by_layer
from grpc_heartbeat.errors import AioEndedCall, timeout_of

FAILED_WRITE = "Internal error from Core"
"""What grpcio says of a write that failed because the call has ended, before it says what it has ended with."""


class ToldCall:
    """A call that ends. Its maker stores ``method``, ``layers``, ``connection``, ``started``, and what differs from here."""

    # Defaults on the class, as everything of a flight.
    method: str
    layers: LoopLayers
    connection: Connection
    started: float
    limit: float | None = None
    """The seconds that gRPC was given."""
    timeout: object = None
    """The call's own time-out."""
    scope: Scope | None = None
    ready = True
    """Whether there was a connection when the call started."""
    verdict: Verdict | None = None
    """How we have ended the call, if we have."""
    late = False
    """Whether the call was over before anybody looked, so that nobody knows when it ended."""
    cancelled = False
    """Whether the application has cancelled the call."""
    origin: Context | None = None
    """What was current where the call was made, if somebody wants to hear of early ends."""
    reported = False
    """Whether they have heard of this one."""
    _guard: Guard | None = None
    _told: Verdict | None = None
    _asked = False

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

    def ours(self, requests_before: int) -> AioEndedCall | None:
        """Return the error to raise instead of a ``CancelledError``, or ``None`` if that one is not of our making.

        Args:
            requests_before: What ``cancel_requests`` said before the task began to wait.
        """
        verdict = self.verdict or self._cancelled_inside()
        return None if verdict is None or cancel_requests() != requests_before else AioEndedCall(verdict)

    def raise_ours(self, requests_before: int) -> None:
        """Raise what ``ours`` returns, if it does; otherwise the ``CancelledError`` is to be raised again."""
        error = self.ours(requests_before)
        try:
            if error is not None:
                raise error from None
        finally:
            del error  # its traceback has this frame, and would be in a cycle with it

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

    def raise_told(self, error: grpc.aio.AioRpcError) -> None:
        """Raise what ``tell`` puts in the place of ``error``, if it does; otherwise that is to be raised again."""
        told = self.tell(error)
        try:
            if told is not error:
                raise told from None
        finally:
            del error, told  # as above

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
