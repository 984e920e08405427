"""What is current in this context, for channels to read: the scope, and the limits that a block sets for its calls.

Server interceptors and ``deadline`` set the scope, ``timeouts`` the limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import TypeVar

from grpc_heartbeat.core.limits import Part
from grpc_heartbeat.core.scope import Scope

current_scope: ContextVar[Scope | None] = ContextVar("grpc_heartbeat.scope", default=None)

current_overrides: ContextVar[Mapping[Part, float | None] | None] = ContextVar("grpc_heartbeat.overrides", default=None)
"""Parts that replace those of every call's ``Limits`` (``Limits.changed``); ``None``, the default, changes nothing."""

_T = TypeVar("_T")


def restore(token: Token[_T]) -> None:
    """Undo a ``set``. A generator may be finalised in another context than it ran in; nothing is set there to undo."""
    try:
        token.var.reset(token)
    except ValueError:
        pass
