"""Planning an outbound call: which time-out it gets, where that came from, and whether it may start at all.

The smallest of three limits wins: the call's own ``timeout=``, the channel's policy, and what is left of the inbound RPC in
whose scope the call is made. A longer explicit time-out never extends an inherited one. Nothing is sent when the scope was
cancelled or nothing is left.

This runs for every call, so it makes no object: what an error has to say is worked out by ``facts`` when there is an error.
"""

from __future__ import annotations

from dataclasses import dataclass

from grpc_heartbeat.core.deadline import normalize_timeout
from grpc_heartbeat.core.facts import TimeoutFacts
from grpc_heartbeat.core.scope import Reason, Scope


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call ends before anything is sent."""

    expired: bool
    """True: DEADLINE_EXCEEDED. False: CANCELLED."""
    details: str
    facts: TimeoutFacts


def inheritable(scope: Scope | None) -> Scope | None:
    """Return ``scope`` if calls made now are to end with it: nothing is inherited from work that has finished."""
    return None if scope is None or scope.finished else scope


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
    return limit, str(int(limit * 1e6)) if ours else None, True  # as encode_budget does, without its frame


def refuse(method: str, timeout: object, policy: float | None, scope: Scope | None, limit: float | None) -> Refusal:
    """Say why a call of ``method`` may not start; the other arguments are those of ``plan`` and the limit it returned."""
    if scope is not None and scope.reason is not None:
        expired = scope.reason is Reason.EXPIRED
        what = "deadline has passed" if expired else "client has cancelled it"
        details = f"{method} was not sent: it belongs to the inbound RPC {scope.method}, whose {what}"
        return Refusal(expired, details, TimeoutFacts("scope", limit if expired else None, 0.0, scope.source))
    source = _source(timeout, policy, scope, limit)
    spent = f"been spent {-limit:.3f} s" if limit else "no time left"
    details = f"{method} was not sent: its total time-out ({source}) had {spent} before the call started"
    return Refusal(True, details, TimeoutFacts("total", limit, 0.0, source))


def facts(
    status: str, timeout: object, policy: float | None, scope: Scope | None, limit: float | None, elapsed: float
) -> TimeoutFacts | None:
    """Return the facts when a call that gRPC ended with ``status`` was ended by one of our limits, else ``None``.

    Args:
        status: The status code's name.
        elapsed: Seconds from the call's start to its end. The other arguments are those of ``plan`` and its limit.
    """
    reason = None if scope is None else scope.reason
    if status == "DEADLINE_EXCEEDED" and limit is not None:
        by_scope = reason is Reason.EXPIRED and elapsed < limit
        return TimeoutFacts("scope" if by_scope else "total", limit, elapsed, _source(timeout, policy, scope, limit))
    if status == "CANCELLED" and scope is not None and reason is not None:
        return TimeoutFacts("scope", None, elapsed, scope.source)
    return None


def _source(timeout: object, policy: float | None, scope: Scope | None, limit: float | None) -> str:
    """Return where ``limit`` came from."""
    if timeout is not None and normalize_timeout(timeout) == limit:
        return "explicit"
    if policy == limit or scope is None:
        return "policy"
    return scope.source
