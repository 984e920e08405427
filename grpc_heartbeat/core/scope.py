"""Cancel scopes: a tree that carries the end of one inbound RPC to everything that was started on its behalf.

Theory of operation. A scope is OPEN, then either CANCELLED (with a reason) or FINISHED; both are final. Members are outbound
calls and child scopes. A member is adopted when it starts and dropped when it is done, so a finished child costs nothing.
Cancelling hands the reason to every member once; a member that raises does not stop its siblings.

A scope that FINISHED normally lets its members be: a handler that has answered may leave background work behind, and that
worked before this library was installed. Calls started under a finished scope inherit nothing.

Thread safety needs no lock. ``cancel`` first stores the outcome and then takes a snapshot of the members; ``adopt`` first
adds the member and then looks at the outcome. Whichever comes second sees the other, so no member is missed. Both may see
each other, so a member's ``scope_cancelled`` must be idempotent.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from grpc_heartbeat.core.deadline import earliest


class Reason(Enum):
    """Why a scope was cancelled."""

    EXPIRED = "expired"
    CLIENT_CANCELLED = "client_cancelled"
    DRAINING = "draining"
    PARENT = "parent"


class Member(Protocol):
    """Something that ends when its scope is cancelled. Compared and hashed by identity."""

    def scope_cancelled(self, scope: Scope) -> None:
        """End now; ``scope.reason`` says why. May be called more than once and from any thread."""


class Scope:
    """One node of the tree.

    Args:
        deadline: Monotonic instant at which the budget ends, or ``None``.
        source: Where that deadline came from, for error messages: ``inherited:<method>`` or ``limit``.
        method: The inbound RPC that the work is done for; empty outside of one.

    Attributes:
        reason: Why the scope was cancelled, or ``None``.
        finished: Whether the work ended normally; nothing is inherited from it any more.
        members: What ends when the scope is cancelled. Add with ``adopt``; drop what is done with ``members.discard``.
    """

    # Defaults on the class: a server makes a scope for every RPC, and most need no more than these.
    reason: Reason | None = None
    finished = False
    watched = True

    def __init__(self, deadline: float | None, source: str, method: str = "") -> None:
        self.deadline = deadline
        self.source = source
        self.method = method
        self.members: set[Member] = set()

    def watch(self) -> None:
        """Begin to notice that the work is called off. Called before anything relies on that, while ``watched`` is False."""

    def remaining(self, now: float) -> float | None:
        """Return the seconds left, 0 when spent, ``None`` without a limit."""
        return None if self.deadline is None else max(0.0, self.deadline - now)

    def adopt(self, member: Member) -> None:
        """End ``member`` when this scope is cancelled; at once, when it already is."""
        if not self.watched:
            self.watch()
        self.members.add(member)
        if self.reason is not None:
            self.members.discard(member)
            member.scope_cancelled(self)

    def child(self, deadline: float | None, source: str) -> Scope:
        """Return a scope inside this one, whose deadline is the earlier of both. Call its ``finish`` when its work is done."""
        within = earliest(self.deadline, deadline)
        return _ChildScope(self, within, self.source if within == self.deadline else source)

    def cancel(self, reason: Reason) -> list[Exception]:
        """Cancel every member; does nothing when the scope has ended.

        Returns:
            The exceptions that members raised, for the driver to log.
        """
        if self.reason is not None or self.finished:
            return []
        self.reason = reason
        failures: list[Exception] = []
        for member in list(self.members):
            self.members.discard(member)
            try:
                member.scope_cancelled(self)
            except Exception as error:
                failures.append(error)
        return failures

    def finish(self) -> None:
        """Say that the work ended normally; members live on by themselves. A cancelled scope stays cancelled."""
        self.finished = self.reason is None
        self.members.clear()


class _ChildScope(Scope):
    def __init__(self, parent: Scope, deadline: float | None, source: str) -> None:
        super().__init__(deadline, source, parent.method)
        self._parent = parent
        parent.adopt(self)

    def scope_cancelled(self, scope: Scope) -> None:
        if scope.reason is None:
            return
        failures = self.cancel(scope.reason)
        if failures:
            raise failures[0]

    def finish(self) -> None:
        super().finish()
        self._parent.members.discard(self)
