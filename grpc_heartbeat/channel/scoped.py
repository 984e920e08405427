"""Binds outbound calls of the sync stack to the scope that they were made in."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._grpcio import CancelHandle, calling
from grpc_heartbeat.core.limits import Limits
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.core.wording import ended_by_grpc
from grpc_heartbeat.errors import TIMEOUT_ATTRIBUTE


def verdict(scope: Scope) -> tuple[grpc.StatusCode, str]:
    """Return the status with which calls in flight end when ``scope`` was cancelled."""
    if scope.reason is Reason.EXPIRED:
        return grpc.StatusCode.DEADLINE_EXCEEDED, f"the deadline of the inbound RPC {scope.method} passed"
    return grpc.StatusCode.CANCELLED, f"the inbound RPC {scope.method} was cancelled by its client"


class BlockedCall(CancelHandle):
    """The member for a thread that blocks in a unary-response call."""

    def scope_cancelled(self, scope: Scope) -> None:
        self.cancel(*verdict(scope))


def block_in(scope: Scope, start: Callable[..., Any], *args: Any) -> Any:
    """Return ``start(*args)``, a blocking call that ends when ``scope`` is cancelled."""
    call = BlockedCall()
    outer = calling.handle
    scope.adopt(call)
    calling.handle = call
    try:
        return start(*args)
    finally:
        calling.handle = outer
        scope.members.discard(call)


class HeldCall:
    """The member for a call object that the application holds. It does not keep the object alive."""

    __slots__ = ("_call", "_scope")

    def __init__(self, scope: Scope, call: Any) -> None:
        self._scope = scope
        self._call = weakref.ref(call)

    def scope_cancelled(self, scope: Scope) -> None:
        call = self._call()
        if call is not None:
            call.cancel()

    def done(self) -> None:
        self._scope.members.discard(self)


def hold(scope: Scope, call: Any) -> None:
    """End ``call`` when ``scope`` is cancelled, and forget it when it is done. Never raises.

    An interceptor may have put something else in the call's place, which cannot be cancelled; that is left alone.
    """
    if not (hasattr(call, "cancel") and hasattr(call, "add_callback")):
        return
    try:
        member = HeldCall(scope, call)
        scope.adopt(member)
        if not call.add_callback(member.done):
            member.done()
    except Exception as error:
        _faults.record("channel.hold", error)


def annotate(
    error: grpc.RpcError,
    method: str,
    timeout: Any,
    limits: Limits,
    scope: Scope | None,
    limit: float | None,
    elapsed: float,
) -> None:
    """Attach the facts to an error with which one of our limits ended the call. The arguments are ``ended_by_grpc``'s."""
    if isinstance(error, grpc.Call):
        verdict = ended_by_grpc(
            error.code().name, error.details() or "", method, timeout, limits, scope, limit, elapsed
        )
        if verdict is not None:
            setattr(error, TIMEOUT_ATTRIBUTE, verdict.facts)
