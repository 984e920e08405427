"""A stream of responses that is produced step by step in the scope of its RPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from grpc_heartbeat._current import current_scope, restore
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.interceptors.inbound import InboundScope, SyncScope, handler_over


class ScopedResponses:
    """Sets the scope around each step of ``responses``, because the steps share their thread with other RPCs.

    A handler that yields inside a block, such as a ``limit``, has the scope of that block in the next step. The first step that
    does not give a response ends the scope's work.
    """

    __slots__ = ("_current", "_responses", "_scope")

    def __init__(self, responses: Any, scope: InboundScope) -> None:
        self._responses = responses
        self._scope = scope
        self._current: Scope | None = scope

    def __iter__(self) -> Iterator[Any]:
        self._responses = iter(self._responses)
        return self

    def __next__(self) -> Any:
        token = current_scope.set(self._current)
        try:
            return next(self._responses)
        except BaseException:
            self._scope.finish()
            raise
        finally:
            self._current = current_scope.get()
            restore(token)

    def __del__(self) -> None:
        scope = self._scope
        handler_over(scope)  # the RPC ended between two steps
        if type(scope) is SyncScope and scope.context is not None:
            scope.let_go()
