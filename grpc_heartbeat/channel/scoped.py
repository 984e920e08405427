"""Ends blocking calls of the sync stack with their scope or by their limits, and says so in their errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._call_events import call_events, tell_ended
from grpc_heartbeat._grpcio import CancelHandle, calling, reword
from grpc_heartbeat.channel.connection import NOWHERE
from grpc_heartbeat.channel.flight import Flight, Line
from grpc_heartbeat.core.limits import Limits
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.core.wording import Verdict, ended_by_grpc, status_of_scope, why_cancelled
from grpc_heartbeat.errors import TIMEOUT_ATTRIBUTE, status_of, timeout_of


class BlockedCall(CancelHandle):
    """The member for a thread that blocks in a unary-response call."""

    def scope_cancelled(self, scope: Scope) -> None:
        self.end(grpc.StatusCode[status_of_scope(scope)], why_cancelled(scope))


class BlockedFlight(BlockedCall, Flight):
    """The same, for a call with limits beside its total."""

    def _accepted(self) -> bool | None:
        if self.headers or self.split or self.call is None:
            return self.headers
        return None

    def _ask_accepted(self) -> None:
        self.guard.accepted()  # a call that could not be split says nothing: it is not held against the server

    def done(self) -> None:
        # What Flight.done does, without its frame where nothing else is to be done: every call that is limited ends here.
        self.over = True
        self.when = None
        if self._waits:
            super().done()
        self.line = NOWHERE
        self.call = None

    def _end(self, verdict: Verdict) -> None:
        self.ending = verdict
        self.end(status_of(verdict), verdict.details)


def block_in(scope: Scope | None, call: BlockedCall, start: Callable[..., Any], *args: Any) -> Any:
    """Return ``start(*args)``, a blocking call that ``call`` can end and that ends when ``scope`` is cancelled."""
    outer = calling.handle
    if scope is not None:
        scope.adopt(call)
    calling.handle = call
    try:
        return start(*args)
    finally:
        calling.handle = outer
        if scope is not None:
            scope.release(call)


def told(
    line: Line,
    flight: Flight | None,
    status: str,
    details: str,
    method: str,
    timeout: Any,
    limits: Limits,
    scope: Scope | None,
    limit: float | None,
    elapsed: float,
) -> Verdict | None:
    """Return how the end of a call that was not OK is to be told, or ``None`` when it is the server's or gRPC's own affair.

    The arguments after ``flight`` are ``ended_by_grpc``'s.
    """
    if flight is not None:
        if flight.ending is not None and flight.ending.details in details:  # gRPC may add words of its own
            return flight.ending
        missed = flight.missed_connection(line, status, details, elapsed)
        if missed is not None:
            return missed
    if status == "UNAVAILABLE":
        line.remember(details)
    return ended_by_grpc(status, details, method, timeout, limits, scope, limit, elapsed, line.state())


def annotate(
    error: Any,
    line: Line,
    flight: Flight | None,
    method: str,
    timeout: Any,
    limits: Limits,
    scope: Scope | None,
    limit: float | None,
    elapsed: float,
) -> None:
    """Say in an error of grpcio's which limit of ours ended the call, in words and in facts. Never raises.

    The arguments after ``flight`` are ``ended_by_grpc``'s.
    """
    if timeout_of(error) is not None or not isinstance(error, grpc.Call):
        return
    try:
        details = error.details() or ""
        verdict = told(line, flight, error.code().name, details, method, timeout, limits, scope, limit, elapsed)
        if verdict is not None:
            setattr(error, TIMEOUT_ATTRIBUTE, verdict.facts)
            if verdict.details != details:
                reword(error, status_of(verdict), verdict.details)
            if call_events:
                tell_ended(method, verdict, None if limit is None else limit - elapsed, line)
    except Exception as fault:
        _faults.record("channel.annotate", fault)
