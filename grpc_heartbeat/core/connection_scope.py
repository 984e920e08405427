"""The calls that run on one connection: a scope, which is cancelled when the connection is convicted.

A call belongs to the work that it is made for, and to its connection. Whichever ends first ends the call. Outside of any work
the connection's scope is all; inside, a :class:`JointScope` is made for each call, which is a child of both. It has the
deadline of the work and leaves both when the call is done.

A connection that is *retired* takes no new calls. When the last of its calls is done, it says so, once: then it can be closed
without ending anything. It says so too if it never had a call.
"""

from __future__ import annotations

from collections.abc import Callable

from grpc_heartbeat.core.scope import ChildScope, Member, Reason, Scope


class ConnectionScope(Scope):
    """The calls of one connection. It has no deadline and inherits nothing."""

    def __init__(self) -> None:
        super().__init__(None, "breaker")
        self._on_idle: Callable[[], None] | None = None

    def convict(self, why: str) -> list[Exception]:
        """End every call because of ``why``; returns what members raised, for the driver to log."""
        self.conviction = why
        return self.cancel(Reason.CONVICTED)

    def retire(self, on_idle: Callable[[], None]) -> None:
        """Call ``on_idle`` once, from any thread, when no call is left."""
        self._on_idle = on_idle
        self.ended = True
        self._look()

    def release(self, member: Member) -> None:
        self.members.discard(member)
        if self.ended:
            self._look()

    def _look(self) -> None:
        if not self.members:
            told, self._on_idle = self._on_idle, None
            if told is not None:
                told()


class JointScope(ChildScope):
    """The scope of one call that is made inside ``work`` on ``connection``; call its ``finish`` once the call has started."""

    def __init__(self, work: Scope, connection: ConnectionScope) -> None:
        self._connection = connection
        super().__init__(work, work.deadline, work.source)
        connection.adopt(self)

    @property
    def conviction(self) -> str:  # type: ignore[override]  # the connection's
        return self._connection.conviction

    def watch(self) -> None:
        super().watch()
        self._connection.adopt(self)

    def _leave(self) -> None:
        self._connection.release(self)
        super()._leave()
