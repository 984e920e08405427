"""The current request's deadline: ask what is left, tighten it, leave it, or carry it into another thread.

Inside a handler on a server that has ``server_interceptors()`` the scope of the inbound RPC is current: calls made through
this library's channels or client interceptors inherit its deadline and are cancelled with it. The scope travels with
contextvars: into awaited coroutines, tasks and ``asyncio.to_thread`` by itself, into thread pools by ``bind``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import ParamSpec, TypeVar

from grpc_heartbeat._current import current_scope, restore
from grpc_heartbeat.config import check_seconds
from grpc_heartbeat.core.scope import Scope

__all__ = ["bind", "limit", "reason", "remaining", "shield"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def remaining() -> float | None:
    """Return the seconds left of the current deadline: 0 when it has passed, ``None`` when there is none."""
    scope = current_scope.get()
    return None if scope is None or scope.finished else scope.remaining(monotonic())


def reason() -> str | None:
    """Return why the current request has ended: ``"expired"``, ``"client_cancelled"``, or ``None`` while it is wanted.

    Synchronous handlers run on after their RPC was cancelled; a long loop can ask this and stop.
    """
    scope = current_scope.get()
    if scope is None or scope.finished:
        return None
    if not scope.watched:
        scope.watch()
    if scope.reason is not None:
        return scope.reason.value
    return "expired" if scope.remaining(monotonic()) == 0 else None


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Tighten the deadline of the calls made in this block to ``seconds`` from now; it never extends one.

    Works as a plain ``with`` in synchronous and asynchronous code alike. It bounds calls, not other code in the block.

    Raises:
        TypeError: ``seconds`` is not a number.
        ValueError: NaN, infinite or negative.
    """
    deadline = monotonic() + check_seconds("limit", seconds, inclusive=True)
    parent = current_scope.get()
    inherits = parent is not None and not parent.finished
    scope = parent.child(deadline, "limit") if parent is not None and inherits else Scope(deadline, "limit")
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
    """Return ``function`` so that it runs in the scope that is current now, whatever thread runs it."""
    scope = current_scope.get()

    @functools.wraps(function)
    def bound(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        token = current_scope.set(scope)
        try:
            return function(*args, **kwargs)
        finally:
            restore(token)

    return bound
