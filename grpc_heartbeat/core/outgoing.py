"""Planning an outbound call: which time-out it gets, where that came from, and whether it may start at all.

The smallest of three limits wins: the call's own ``timeout=``, the channel's policy, and what is left of the inbound RPC in
whose scope the call is made. A longer explicit time-out never extends an inherited one. Nothing is sent when the scope was
cancelled or nothing is left.

Wherever a scope or a policy limits a call, the exact budget goes along, round numbers included: gRPC's C-core rounds
``grpc-timeout`` up to three digits and then sends, to save bytes, any time-out again that it sent on the connection before
and that is up to 3 % longer. What a number becomes on the wire depends on the calls before it.

This runs for every call, so it makes no object: what an error has to say is worked out when there is one (``core.wording``).
"""

from __future__ import annotations

from grpc_heartbeat.core.deadline import normalize_timeout
from grpc_heartbeat.core.facts import Layer, TimeoutFacts
from grpc_heartbeat.core.limits import Limits
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.core.wording import Verdict, source_of, status_of_scope, why_cancelled


def inheritable(scope: Scope | None) -> Scope | None:
    """Return ``scope`` if calls made now are to end with it: nothing is inherited from work that has finished."""
    return None if scope is None or scope.finished else scope


def own_limit(timeout: object, policy: float | None) -> float | None:
    """Return the smaller of a call's own time-out and its channel's total, in seconds; the scope's is not looked at.

    Raises:
        TypeError, ValueError: ``timeout`` is not a number of seconds.
    """
    limit = None if timeout is None else normalize_timeout(timeout)
    return limit if policy is None or (limit is not None and limit <= policy) else policy


def plan(
    timeout: object, policy: float | None, scope: Scope | None, now: float
) -> tuple[float | None, str | None, bool]:
    """Plan one call.

    Args:
        timeout: The call's own time-out in seconds, or ``None``.
        policy: The channel's total for such calls in seconds, or ``None``.
        scope: What ``inheritable`` returned.
        now: The monotonic clock, in seconds.

    Returns:
        The seconds to give to gRPC, or ``None``; the value of the ``deadline-budget-v1`` metadata entry to add, or ``None``;
        whether the call may start. If it may not, ``refuse`` says why.

    Raises:
        TypeError, ValueError: ``timeout`` is not a number of seconds.
    """
    limit = None if timeout is None else normalize_timeout(timeout)
    ours = False
    if policy is not None and (limit is None or policy < limit):
        limit = policy
        ours = True
    if scope is not None:
        if scope.reason is not None:
            return limit, None, False
        deadline = scope.deadline
        if deadline is not None:
            ours = True
            left = deadline - now
            if limit is None or left < limit:
                limit = left
    if limit is None:
        return None, None, True
    if limit <= 0:
        return limit, None, False
    return limit, str(int(limit * 1e6)) if ours else None, True


def refuse(method: str, timeout: object, limits: Limits, scope: Scope | None, limit: float | None) -> Verdict:
    """Say why a call of ``method`` may not start; ``limit`` is what ``plan`` returned."""
    if scope is not None and scope.reason is not None:
        layer: Layer = "breaker" if scope.reason is Reason.CONVICTED else "scope"
        details = f"{method} was not sent: {why_cancelled(scope)}"
        return Verdict(status_of_scope(scope), details, TimeoutFacts(layer, None, 0.0, scope.source))
    source = source_of(timeout, limits, scope, limit)
    spent = f"been spent {-limit:.3f} s" if limit else "no time left"
    details = f"{method} was not sent: its total time-out ({source}) had {spent} before the call started"
    return Verdict("DEADLINE_EXCEEDED", details, TimeoutFacts("total", limit, 0.0, source))
