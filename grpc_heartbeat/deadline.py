"""The current request's deadline: ask what is left, tighten it, leave it, or carry it into other threads and tasks.

Inside a handler on a server that has ``server_interceptors()`` the scope of the inbound RPC is current: calls made through
this library's channels or client interceptors inherit its deadline and are cancelled with it. The scope travels with
contextvars: into awaited coroutines, tasks and ``asyncio.to_thread`` by itself, into thread pools by ``bind`` and
``ScopedExecutor``. ``gather`` and ``gather_sync`` run several pieces of work side by side in it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, ParamSpec, TypeVar

from grpc_heartbeat._current import current_scope, restore
from grpc_heartbeat.concurrency import gather, gather_sync
from grpc_heartbeat.config import check_seconds
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.executors import ScopedExecutor, run_in

__all__ = ["ScopedExecutor", "bind", "gather", "gather_sync", "limit", "reason", "remaining", "shield"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def remaining() -> float | None:
    """Return the seconds left of the current deadline: 0 when it has passed, ``None`` when there is none."""
    scope = current_scope.get()
    return None if scope is None or scope.finished else scope.remaining(monotonic())


def reason() -> str | None:
    """Return why the current work is no longer wanted, or ``None`` while it is.

    - ``"expired"``: its deadline has passed: the client's, the server's own, or that of a ``limit`` block.
    - ``"client_cancelled"``: the client cancelled the RPC or went away.
    - ``"parent"``: the fan-out that it is part of was called off, because another part failed or the code around it was
      cancelled.
    - ``"draining"``: the server is shutting down, which handlers are told by ``drain()`` of the server's interceptor. Unless
      that cancelled their calls, they may go on; the other reasons come before this one.

    Synchronous handlers run on after their RPC was cancelled; a long loop can ask this and stop. In coroutines it can be asked
    in ``except CancelledError``. grpc.aio tells a handler of its client's cancel by cancelling its task and by nothing else, so
    there, from Python 3.11 on, any cancel of that task that it has not answered yet is taken for the client's: also one by an
    ``asyncio.timeout`` in the handler, until that block is left. Before 3.11 it is known once the handler has let go.
    """
    scope = current_scope.get()
    found = None if scope is None else scope.why(monotonic())
    return None if found is None else found.value


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Tighten the deadline of the calls made in this block to ``seconds`` from now; it never extends one.

    Works as a plain ``with`` in synchronous and asynchronous code alike. It bounds calls, not other code in the block. Work
    that was started in the block and goes on after it has the deadline of the code around the block.

    Raises:
        TypeError: ``seconds`` is not a number.
        ValueError: NaN, infinite or negative.
    """
    deadline = monotonic() + check_seconds("limit", seconds, inclusive=True)
    parent = current_scope.get()
    scope = Scope(deadline, "limit") if parent is None or parent.finished else parent.child(deadline, "limit")
    token = current_scope.set(scope)
    try:
        yield
    finally:
        restore(token)
        scope.finish()


@contextmanager
def shield() -> Iterator[None]:
    """Make the calls of this block independent of the inbound RPC: for clean-up and for background work."""
    token = current_scope.set(None)
    try:
        yield
    finally:
        restore(token)


def bind(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return ``function`` so that it runs in the scope that is current now, whatever thread or task runs it.

    Of a coroutine function, another one is made. A generator's body would run in the scope of whoever iterates over it.
    """
    scope = current_scope.get()
    if inspect.iscoroutinefunction(function):
        return _bound_coroutine(scope, function)

    @functools.wraps(function)
    def bound(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        return run_in(scope, function, *args, **kwargs)

    return bound


def _bound_coroutine(scope: Scope | None, function: Callable[_P, Any]) -> Callable[_P, Any]:
    @functools.wraps(function)
    async def bound(*args: _P.args, **kwargs: _P.kwargs) -> Any:
        token = current_scope.set(scope)
        try:
            return await function(*args, **kwargs)
        finally:
            restore(token)

    return bound
