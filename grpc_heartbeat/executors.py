"""Carrying the current scope into thread pools, which do not carry context variables to their threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

from grpc_heartbeat._current import current_scope, restore
from grpc_heartbeat.core.scope import Scope

_P = ParamSpec("_P")
_R = TypeVar("_R")


class ScopedExecutor(Executor):
    """An executor whose work runs in the scope of whoever submits it.

    Thread pools do not carry the current deadline to their threads. Work that is submitted here has it, so calls that it makes
    end with the request, however long it was queued.

    Args:
        executor: Runs the work; of threads, because a scope cannot be sent to another process. ``shutdown`` and ``with`` end
            it.

    Raises:
        TypeError: ``executor`` is no executor, or one of processes.
    """

    def __init__(self, executor: Executor) -> None:
        if not isinstance(executor, Executor):
            raise TypeError(f"executor must be a concurrent.futures.Executor, not {type(executor).__name__}")
        if any(kind.__module__ == "concurrent.futures.process" for kind in type(executor).__mro__):
            raise TypeError("executor must run its work in threads: a scope cannot be sent to another process")
        self._executor = executor

    def submit(self, fn: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_R]:
        """Run ``fn(*args, **kwargs)`` in the scope that is current now; arguments and errors are the executor's own."""
        run: Callable[..., _R] = run_in
        return self._executor.submit(run, current_scope.get(), fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor down."""
        self._executor.shutdown(wait, cancel_futures=cancel_futures)


def run_in(scope: Scope | None, function: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Return ``function(*args, **kwargs)``, run in ``scope``. Its own arguments may have any names."""
    token = current_scope.set(scope)
    try:
        return function(*args, **kwargs)
    finally:
        restore(token)
