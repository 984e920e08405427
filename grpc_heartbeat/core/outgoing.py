"""Planning an outbound call: which time-out it gets, where that came from, and whether it may start at all.

The smallest of three limits wins: the call's own ``timeout=``, the channel's policy, and what is left of the inbound RPC in
whose scope the call is made. A longer explicit time-out never extends an inherited one. Nothing is sent when the scope was
cancelled or nothing is left.
"""

from __future__ import annotations

from dataclasses import dataclass

from grpc_heartbeat.core.deadline import encode_budget, normalize_timeout
from grpc_heartbeat.core.facts import TimeoutFacts
from grpc_heartbeat.core.scope import Reason, Scope


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call ends before anything is sent."""

    expired: bool
    """True: DEADLINE_EXCEEDED. False: CANCELLED."""
    details: str
    facts: TimeoutFacts


class Plan:
    """What to do with one outbound call."""

    __slots__ = ("budget", "refusal", "scope", "source", "started", "timeout")

    def __init__(self, started: float) -> None:
        self.started = started
        self.timeout: float | None = None
        """Seconds to give to gRPC, or ``None``."""
        self.source = ""
        """Where ``timeout`` came from."""
        self.budget: str | None = None
        """Value of the ``deadline-budget-v1`` metadata entry to add, or ``None``: add nothing."""
        self.scope: Scope | None = None
        """The live scope to be cancelled with, or ``None``."""
        self.refusal: Refusal | None = None
        """Set when the call must end locally."""

    def facts(self, status: str, now: float) -> TimeoutFacts | None:
        """Return the facts when a call that gRPC ended with ``status`` was ended by one of our limits, else ``None``."""
        elapsed = now - self.started
        if status == "DEADLINE_EXCEEDED" and self.timeout is not None:
            return TimeoutFacts("total", self.timeout, elapsed, self.source)
        if status == "CANCELLED" and self.scope is not None and self.scope.reason is not None:
            return TimeoutFacts("scope", self.timeout, elapsed, self.scope.source)
        return None


def plan(method: str, timeout: object, policy: float | None, scope: Scope | None, now: float) -> Plan:
    """Plan a call of ``method``.

    Args:
        timeout: The call's own time-out in seconds, or ``None``.
        policy: The channel's total for such calls in seconds, or ``None``.
        scope: The scope in which the call is made, or ``None``.
        now: The monotonic clock, in seconds.

    Raises:
        TypeError, ValueError: ``timeout`` is not a number of seconds.
    """
    result = Plan(now)
    limit = None if timeout is None else normalize_timeout(timeout)
    result.source = "explicit"
    ours = False
    if policy is not None and (limit is None or policy < limit):
        limit, result.source, ours = policy, "policy", True
    if scope is not None and not scope.finished:
        result.scope = scope
        if scope.deadline is not None:
            left = scope.deadline - now
            if limit is None or left < limit:
                limit, result.source = left, scope.source
            ours = True
        if scope.reason is not None:
            result.refusal = _refuse_ended_scope(method, scope, limit, result.source)
            return result
    if limit is not None:
        result.timeout = limit
        if limit <= 0:
            result.refusal = _refuse_spent(method, limit, result.source)
        elif ours:
            result.budget = encode_budget(limit)
    return result


def _refuse_spent(method: str, limit: float, source: str) -> Refusal:
    details = f"{method} was not sent: its total time-out ({source}) had {_spent(limit)} before the call started"
    return Refusal(True, details, TimeoutFacts("total", limit, 0.0, source))


def _spent(limit: float) -> str:
    return "no time left" if limit == 0 else f"been spent {-limit:.3f} s"


def _refuse_ended_scope(method: str, scope: Scope, limit: float | None, source: str) -> Refusal:
    expired = scope.reason is Reason.EXPIRED
    what = "deadline has passed" if expired else "client has cancelled it"
    details = f"{method} was not sent: it belongs to the inbound RPC {scope.method}, whose {what}"
    return Refusal(expired, details, TimeoutFacts("scope", limit, 0.0, source))
