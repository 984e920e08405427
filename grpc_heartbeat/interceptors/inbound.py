"""The beginning and the end of an inbound RPC, seen from its handler: a scope is opened, and told how it ended."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import Any

from grpc_heartbeat import _faults
from grpc_heartbeat._types import Metadata
from grpc_heartbeat.core.deadline import inbound_deadline
from grpc_heartbeat.core.scope import Reason, Scope

EXPIRY_TOLERANCE = 0.02
"""Seconds. A client whose deadline passes resets the stream, and that reset may overtake our own reckoning of the same
deadline by the time that the request was under way. A reset this close to the deadline is called expiry."""


class WatchedScope(Scope):
    """The scope of an RPC on the sync stack.

    Its context is asked to tell of the RPC's end only when somebody needs to know: most handlers make no calls, and would
    pay for a callback that is registered under the RPC's lock.
    """

    watched = False

    def __init__(self, deadline: float | None, source: str, method: str, context: Any) -> None:
        super().__init__(deadline, source, method)
        self._context = context

    def watch(self) -> None:
        self.watched = True
        try:
            # The callback comes when the RPC is cancelled, when its deadline passes, and also after it completed normally.
            if not self._context.add_callback(partial(rpc_ended, self)):
                rpc_ended(self)
        except Exception as error:
            _faults.record("server.watch", error)


def deadline_of(context: Any, metadata: Metadata | None, now: float) -> float | None:
    """Return the instant at which an RPC's budget ends; ``None`` when the context cannot tell (the fault is recorded)."""
    try:
        return inbound_deadline(context.time_remaining(), metadata, now)
    except Exception as error:
        _faults.record("server.deadline_of", error)
        return None


def rejection(method: str) -> str:
    """Return the details with which an RPC of ``method`` is rejected whose budget is spent."""
    return f"{method} was not started: its deadline had passed while the request was under way or queued"


def rpc_ended(scope: Scope) -> None:
    """Cancel what was started on behalf of an RPC that ended before its handler did. Never raises."""
    if scope.finished:
        return
    left = scope.remaining(monotonic())
    expired = left is not None and left <= EXPIRY_TOLERANCE
    for failure in scope.cancel(Reason.EXPIRED if expired else Reason.CLIENT_CANCELLED):
        _faults.record("server.cancel_member", failure)
