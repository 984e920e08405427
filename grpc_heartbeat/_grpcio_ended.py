"""How a call of the sync stack has ended, asked without keeping its call object alive.

grpcio tells of an end by a callback. The callback may not refer to the call object: an application that drops a call wants it
cancelled, and what a callback refers to is not dropped. But an end is told after the reader of a stream was woken, and a reader
that is done drops the call as well, so a callback that finds its object gone cannot say whether that was before the end or
after it. What knows is the state that the object shares with grpcio's thread, which lives as long as either of them.

Where grpcio's objects have no such state, and with ``GRPC_HEARTBEAT_PUBLIC_API_ONLY=1``, the object is watched weakly, and one
that is gone counts as dropped.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from grpc_heartbeat import _grpcio


class _State:
    """The state of a call object, with the face of one."""

    __slots__ = ("_state",)

    def __init__(self, state: Any) -> None:
        self._state = state

    def code(self) -> Any:
        return self._state.code

    def details(self) -> Any:
        details = self._state.details
        return details.decode(errors="replace") if isinstance(details, bytes) else details


def status_of(call: Any) -> Callable[[], Any]:
    """Return what to ask once ``call`` has ended; it does not keep ``call`` alive.

    It returns ``call``, or what else has its ``code()`` and ``details()``; ``None`` if ``call`` was dropped.
    """
    known = weakref.ref(call)
    state = getattr(_innermost(call), "_state", None) if _grpcio.usable() else None
    lasting = _State(state) if hasattr(state, "code") and hasattr(state, "details") else None

    def ask() -> Any:
        living = known()
        if living is None and lasting is not None and lasting.code() is not None:
            return lasting
        return living

    return ask


def _innermost(call: Any) -> Any:
    """Return the call object that is at the bottom of what our channel has put around it, without waiting for one."""
    while (inner := getattr(call, "__dict__", {}).get("_inner")) is not None:
        call = inner
    return call
