"""The scope that is current in this context: set by server interceptors and ``deadline``, read by channels."""

from __future__ import annotations

from contextvars import ContextVar, Token

from grpc_heartbeat.core.scope import Scope

current_scope: ContextVar[Scope | None] = ContextVar("grpc_heartbeat.scope", default=None)


def restore(token: Token[Scope | None]) -> None:
    """Undo a ``set``. A generator may be finalised in another context than it ran in; nothing is set there to undo."""
    try:
        current_scope.reset(token)
    except ValueError:
        pass
