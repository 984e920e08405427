"""The four kinds of methods on an asyncio channel: each call is planned, started by grpcio, and held by its scope.

What comes back are grpcio's own call objects.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat._current import current_scope
from grpc_heartbeat._types import AioStreamStreamBase, AioStreamUnaryBase, AioUnaryStreamBase, AioUnaryUnaryBase
from grpc_heartbeat.channel.ended_aio import (
    EndedStreamStreamCall,
    EndedStreamUnaryCall,
    EndedUnaryStreamCall,
    EndedUnaryUnaryCall,
)
from grpc_heartbeat.channel.metadata import with_budget
from grpc_heartbeat.channel.scoped_aio import hold
from grpc_heartbeat.core.deadline import BUDGET_KEY
from grpc_heartbeat.core.limits import Limits
from grpc_heartbeat.core.outgoing import plan, refuse
from grpc_heartbeat.core.wording import Verdict


class _MultiCallable:
    """What the four kinds share: the inner multicallable, the method's name and the policy.

    It keeps its channel alive, as grpcio's do: a program may hold a stub only.
    """

    _ended: Callable[[Verdict], Any]

    def __init__(self, owner: grpc.aio.Channel, inner: Any, method: str, limits: Limits) -> None:
        self._owner = owner
        self._inner = inner
        self._method = method
        self._limits = limits

    def _start(self, request: Any, timeout: Any, metadata: Any, credentials: Any, wait: Any, compression: Any) -> Any:
        scope = current_scope.get()
        if scope is not None and scope.finished:
            scope = None
        limit, budget, allowed = plan(timeout, self._limits.total, scope, monotonic())
        if not allowed:
            return self._ended(refuse(self._method, timeout, self._limits, scope, limit))
        if budget is not None:
            entries = ((BUDGET_KEY, budget),) if metadata is None else with_budget(metadata, budget)
            metadata = grpc.aio.Metadata(*entries)  # grpc.aio is slower with a tuple
        call = self._inner(
            request,
            timeout=limit,
            metadata=metadata,
            credentials=credentials,
            wait_for_ready=wait,
            compression=compression,
        )
        if scope is not None:
            hold(scope, call)
        return call


class UnaryUnary(_MultiCallable, AioUnaryUnaryBase):
    """A unary-unary method."""

    _ended = EndedUnaryUnaryCall

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(request, timeout, metadata, credentials, wait_for_ready, compression)


class UnaryStream(_MultiCallable, AioUnaryStreamBase):
    """A unary-stream method."""

    _ended = EndedUnaryStreamCall

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(request, timeout, metadata, credentials, wait_for_ready, compression)


class StreamUnary(_MultiCallable, AioStreamUnaryBase):
    """A stream-unary method."""

    _ended = EndedStreamUnaryCall

    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(request_iterator, timeout, metadata, credentials, wait_for_ready, compression)


class StreamStream(_MultiCallable, AioStreamStreamBase):
    """A stream-stream method."""

    _ended = EndedStreamStreamCall

    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(request_iterator, timeout, metadata, credentials, wait_for_ready, compression)
