"""Binds outbound calls of the asyncio stack to the scope that they were made in."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc_heartbeat import _faults
from grpc_heartbeat.core.scope import Scope


class HeldAioCall:
    """The member for an asyncio call in flight. The scope may be cancelled from another thread than the call's loop."""

    __slots__ = ("_call", "_loop", "_scope")

    def __init__(self, scope: Scope, call: Any) -> None:
        self._scope = scope
        self._call = call
        self._loop = running_loop()

    def scope_cancelled(self, scope: Scope) -> None:
        if self._loop is None or self._loop is running_loop():
            self._call.cancel()
        else:
            self._loop.call_soon_threadsafe(self._call.cancel)

    def done(self, call: Any) -> None:
        self._scope.members.discard(self)


def hold(scope: Scope, call: Any) -> None:
    """End ``call`` when ``scope`` is cancelled, and forget it when it is done. Never raises."""
    try:
        member = HeldAioCall(scope, call)
        scope.adopt(member)
        call.add_done_callback(member.done)
    except Exception as error:
        _faults.record("channel.hold_aio", error)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, or ``None``."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
