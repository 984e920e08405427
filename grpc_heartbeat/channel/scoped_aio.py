"""Binds outbound calls of the asyncio stack to the scope that they were made in."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc_heartbeat import _faults
from grpc_heartbeat.core.scope import Scope


class HeldAioCall:
    """The member for an asyncio call in flight. The scope may be cancelled from another thread than the call's loop."""

    # Set by ``hold``: this is made for every call in a handler, and an __init__ would cost a frame.
    __slots__ = ("call", "loop", "scope")
    call: Any
    loop: asyncio.AbstractEventLoop | None
    scope: Scope

    def scope_cancelled(self, scope: Scope) -> None:
        if self.loop is None or self.loop is running_loop():
            self.call.cancel()
        else:
            self.loop.call_soon_threadsafe(self.call.cancel)

    def done(self, call: Any) -> None:
        self.scope.members.discard(self)


def hold(scope: Scope, call: Any) -> None:
    """End ``call`` when ``scope`` is cancelled, and forget it when it is done. Never raises."""
    try:
        member = HeldAioCall()
        member.call = call
        member.scope = scope
        try:
            member.loop = asyncio.get_running_loop()
        except RuntimeError:
            member.loop = None
        # What ``scope.adopt`` does, without its frame.
        if not scope.watched:
            scope.watch()
        scope.members.add(member)
        if scope.reason is not None:
            member.scope_cancelled(scope)
        call.add_done_callback(member.done)
    except Exception as error:
        _faults.record("channel.hold_aio", error)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, or ``None``."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
