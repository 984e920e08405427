"""The beginning and the end of an inbound RPC, seen from its handler: a scope is opened, and told how it ended."""

from __future__ import annotations

from time import monotonic
from typing import Any

from grpc_heartbeat import _faults
from grpc_heartbeat._types import Metadata
from grpc_heartbeat.core.deadline import inbound_deadline
from grpc_heartbeat.core.scope import Reason, Scope

EXPIRY_TOLERANCE = 0.02
"""Seconds. A client whose deadline passes resets the stream, and that reset may overtake our own reckoning of the same
deadline by the time that the request was under way. A reset this close to the deadline is called expiry."""


def open_scope(method: str, source: str, context: Any, metadata: Metadata | None, now: float) -> Scope:
    """Return a scope with the RPC's deadline; without one when the context cannot tell (the fault is recorded).

    Args:
        method: The RPC's full name.
        source: ``inherited:<method>``.
        context: The RPC's servicer context.
        metadata: Its invocation metadata.
        now: The monotonic clock, in seconds.
    """
    try:
        deadline = inbound_deadline(context.time_remaining(), metadata, now)
    except Exception as error:
        _faults.record("server.open_scope", error)
        deadline = None
    return Scope(deadline, source, method)


def rejection(scope: Scope) -> str:
    """Return the details with which a spent RPC is rejected."""
    return f"{scope.method} was not started: its deadline had passed while the request was under way or queued"


def rpc_ended(scope: Scope) -> None:
    """Cancel what was started on behalf of an RPC that ended before its handler did. Never raises."""
    if scope.finished:
        return
    left = scope.remaining(monotonic())
    expired = left is not None and left <= EXPIRY_TOLERANCE
    for failure in scope.cancel(Reason.EXPIRED if expired else Reason.CLIENT_CANCELLED):
        _faults.record("server.cancel_member", failure)
