"""Cancel scopes: a tree that carries the end of one inbound RPC to everything that was started on its behalf.

Theory of operation. A scope is OPEN, then either CANCELLED (with a reason) or FINISHED; both are final. Members are outbound
calls and child scopes. A member is adopted when it starts and released when it is done, so a finished child costs nothing.
Cancelling hands the reason to every member once, down the whole tree; a member that raises does not stop its siblings.

A root scope that FINISHED lets its members be: a handler that has answered may leave background work behind, and that worked
before this library was installed. Calls started under a finished scope inherit nothing.

A child scope is a block of code inside its parent (``deadline.limit``, a fan-out). Calls may outlive the block, and work that
was started in it may make new ones. So a child whose block has ended *stands for its parent*: it has the parent's deadline,
passes the parent's end on to the members that are left, and is itself released when the last of them is done. It comes back
to its parent if it adopts again.

Thread safety needs no lock. ``cancel`` first stores the outcome and then takes members out one by one; ``adopt`` first adds
the member and then looks at the outcome. Whichever comes second sees the other, and only the side that takes a member out
tells it, so each is told exactly once. ``release`` marks a child as unwatched before it looks once more for members; ``adopt``
adds the member before it looks for that mark.
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
    CONVICTED = "convicted"


class Member(Protocol):
    """Something that ends when its scope is cancelled. Compared and hashed by identity."""

    def scope_cancelled(self, scope: Scope) -> None:
        """End now; ``scope.reason`` says why. Called from any thread; must not mind being called again."""


class Scope:
    """One node of the tree.

    Args:
        deadline: Monotonic instant at which the budget ends, or ``None``.
        source: Where that deadline came from, for error messages: ``inherited:<method>`` or ``limit``.
        method: The inbound RPC that the work is done for; empty outside of one.

    Attributes:
        reason: Why the scope was cancelled, or ``None``.
        finished: Whether the work ended normally; nothing is inherited from it any more.
        watched: Whether the end of the work is noticed. ``watch`` is called before anything relies on that.
        members: What ends when the scope is cancelled. Add with ``adopt``, drop with ``release``.
    """

    # Defaults on the class: a server makes a scope for every RPC, and most need no more than these.
    reason: Reason | None = None
    finished = False
    watched = True
    ended = False
    conviction = ""
    """Why the connection was convicted, where that is the reason."""

    def __init__(self, deadline: float | None, source: str, method: str = "") -> None:
        self.deadline = deadline
        self.source = source
        self.method = method
        self.members: set[Member] = set()

    @property
    def draining(self) -> bool:
        """Whether the server that the work is done for is shutting down. Nothing is cancelled by that alone."""
        return False

    def watch(self) -> None:
        """Begin to notice that the work is called off."""

    def remaining(self, now: float) -> float | None:
        """Return the seconds left, 0 when spent, ``None`` without a limit."""
        return None if self.deadline is None else max(0.0, self.deadline - now)

    def why(self, now: float) -> Reason | None:
        """Return why the work is no longer wanted, or ``None`` while it is."""
        if self.reason is None and not self.watched and not self.finished:
            self.watch()
        if self.reason is not None or self.finished:
            return self.reason
        if self.deadline is not None and self.deadline <= now:
            return Reason.EXPIRED
        return Reason.DRAINING if self.draining else None

    def adopt(self, member: Member) -> None:
        """End ``member`` when this scope is cancelled; at once, when it already is."""
        self.members.add(member)
        if not self.watched and self.reason is None:
            self.watch()
        if self.reason is not None and _taken(self.members, member):
            member.scope_cancelled(self)

    def release(self, member: Member) -> None:
        """Forget ``member``, which is done."""
        self.members.discard(member)

    def child(self, deadline: float | None, source: str) -> Scope:
        """Return a scope inside this one, whose deadline is the earlier of both. Call its ``finish`` when its block ends."""
        within = earliest(self.deadline, deadline)
        return ChildScope(self, within, self.source if within == self.deadline else source)

    def cancel(self, reason: Reason) -> list[Exception]:
        """Cancel every member; does nothing when the scope has ended. For the owner of the RPC, or of a block that goes on.

        Returns:
            The exceptions that members raised, for the driver to log.
        """
        failures: list[Exception] = []
        scopes: list[Scope] = [self]
        while scopes:  # not by recursion: blocks may be nested deeply
            scope = scopes.pop()
            if scope.reason is not None or scope.finished:
                continue
            scope.reason = reason
            members = scope.members
            while members:
                try:
                    member = members.pop()
                except KeyError:  # another thread took the last one
                    break
                if isinstance(member, Scope):
                    scopes.append(member)
                    continue
                try:
                    member.scope_cancelled(scope)
                except Exception as error:
                    failures.append(error)
        return failures

    def finish(self) -> None:
        """Say that the work ended normally; members live on by themselves. A cancelled scope stays cancelled."""
        self.finished = self.reason is None
        self.members.clear()


class ChildScope(Scope):
    """A block inside of ``parent``; made by its ``child``."""

    def __init__(self, parent: Scope, deadline: float | None, source: str) -> None:
        super().__init__(deadline, source, parent.method)
        self._parent = parent
        parent.adopt(self)

    @property
    def finished(self) -> bool:
        return self.ended and self.reason is None and self._parent.finished

    @finished.setter
    def finished(self, value: bool) -> None:
        raise AttributeError("a child scope is finished when its block has ended and its parent is finished")

    def scope_cancelled(self, scope: Scope) -> None:
        """Called when the parent was cancelled before it adopted this scope."""
        if scope.reason is None:
            return
        failures = self.cancel(scope.reason)
        if failures:
            raise failures[0]

    def why(self, now: float) -> Reason | None:
        if self.reason is not None:
            return self.reason
        if not self.ended and self.deadline is not None and self.deadline <= now:
            return Reason.EXPIRED
        return self._parent.why(now)

    def watch(self) -> None:
        self.watched = True
        self._parent.adopt(self)

    def release(self, member: Member) -> None:
        self.members.discard(member)
        if self.ended and not self.members:
            self._leave()

    def finish(self) -> None:
        """Say that the block has ended; what is left of it belongs to the parent. A cancelled scope stays cancelled."""
        self.deadline = self._parent.deadline
        self.source = self._parent.source
        self.ended = True
        if not self.members:
            self._leave()

    def _leave(self) -> None:
        self.watched = False
        self._parent.release(self)
        if self.members:  # adopted meanwhile, by a thread that still saw this scope as watched
            self.watch()


def _taken(members: set[Member], member: Member) -> bool:
    """Take ``member`` out; return whether it was still there."""
    try:
        members.remove(member)
    except KeyError:
        return False
    return True
