"""Limits for single calls: for all calls of a block (``timeouts``), or for those made through one wrapper (``with_timeouts``).

Theory of operation. Both set a context variable that every channel and client interceptor of this library reads when a call
starts, so they reach calls in awaited coroutines and in tasks started inside, and nothing travels in metadata. The parts that
are named replace the policy's; among nested blocks the inner one wins, part by part, and a wrapper wins over the blocks around
the call. A total counts for calls that stream responses, too: whoever writes it means this call. It never extends an inherited
deadline or the call's own ``timeout=``: the smallest wins.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar, overload

import grpc
import grpc.aio

from grpc_heartbeat._current import current_overrides, restore
from grpc_heartbeat.config import Timeouts
from grpc_heartbeat.core.limits import PARTS, Part, checked_parts, parts_of

_Method = TypeVar("_Method", bound=Callable[..., Any])
_Parts = Mapping[Part, float | None]


@overload
def timeouts(limits: Timeouts, /) -> AbstractContextManager[None]: ...
@overload
def timeouts(
    *,
    total: float | None = ...,
    connect: float | None = ...,
    header: float | None = ...,
    idle: float | None = ...,
    write: float | None = ...,
) -> AbstractContextManager[None]: ...
def timeouts(limits: Timeouts | None = None, /, **parts: float | None) -> AbstractContextManager[None]:
    """Set limits for the calls made in this block: a plain ``with``, in synchronous and asynchronous code alike.

    Args:
        limits: All five parts at once; one that is ``None`` in it sets no limit. Or name some:
        parts: ``total``, ``connect``, ``header``, ``idle``, ``write``, each in seconds (above 0, at most 1e8) or ``None`` for
            no limit. A part that is not named stays as the policy and the blocks around this one have it.

    Raises:
        TypeError: no part is named, or a value is not a number.
        ValueError: there is no such part, or a number is NaN, infinite or out of range.
    """
    return _block(_given("timeouts", limits, parts))


@overload
def with_timeouts(method: _Method, limits: Timeouts, /) -> _Method: ...
@overload
def with_timeouts(
    method: _Method,
    /,
    *,
    total: float | None = ...,
    connect: float | None = ...,
    header: float | None = ...,
    idle: float | None = ...,
    write: float | None = ...,
) -> _Method: ...
def with_timeouts(method: _Method, limits: Timeouts | None = None, /, **parts: float | None) -> _Method:
    """Return ``method``, a stub's multicallable of either stack, with limits of its own for the calls made through it.

    The result is called as ``method`` is, ``with_call`` and ``future`` included. Where client interceptors make calls of their
    own while one of these starts, those have the limits too.

    Args:
        method: Such as ``stub.Place``, or what ``with_timeouts`` returned: the parts named here then replace those given there.
        limits, parts: As for ``timeouts``.

    Raises:
        TypeError: ``method`` is no multicallable, no part is named, or a value is not a number.
        ValueError: there is no such part, or a number is NaN, infinite or out of range.
    """
    given: _Parts = _given("with_timeouts", limits, parts)
    inner: Any = method
    if isinstance(method, _Limited):
        given = {**method.parts, **given}
        inner = method.inner
    if not callable(inner) or inspect.iscoroutinefunction(inner):
        raise TypeError(
            f"with_timeouts needs a stub's method such as stub.Place, not {inner!r}; "
            "for other code write `with timeouts(...):` around the calls"
        )
    face = next((_FACES[kind] for kind in _FACES if isinstance(inner, kind)), _Limited)
    limited: Any = face(inner, given)
    return limited  # type: ignore[no-any-return]  # it stands in for the method and is typed as one


@contextmanager
def _block(parts: _Parts) -> Iterator[None]:
    token = current_overrides.set(_inside(parts))
    try:
        yield
    finally:
        restore(token)


class _Limited:
    """Stands in for a multicallable."""

    def __init__(self, inner: Any, parts: _Parts) -> None:
        self.inner = inner
        self.parts = parts

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(self.inner, args, kwargs)

    def _run(self, start: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        token = current_overrides.set(_inside(self.parts))
        try:
            return start(*args, **kwargs)
        finally:
            current_overrides.reset(token)

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # not there yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __repr__(self) -> str:
        return f"<{self.inner!r} with time-outs {dict(self.parts)!r}>"


class _LimitedBlocking(_Limited):
    """Stands in for a multicallable of the sync stack with a single response."""

    def with_call(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(self.inner.with_call, args, kwargs)

    def future(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(self.inner.future, args, kwargs)


def _face(kind: type) -> type[_Limited]:
    base = _LimitedBlocking if hasattr(kind, "future") else _Limited
    face: Any = type(f"Limited{kind.__name__}", (base, kind), {})
    made: type[_Limited] = face
    return made


_FACES = {
    kind: _face(kind)
    for kind in (
        grpc.UnaryUnaryMultiCallable,
        grpc.UnaryStreamMultiCallable,
        grpc.StreamUnaryMultiCallable,
        grpc.StreamStreamMultiCallable,
        grpc.aio.UnaryUnaryMultiCallable,
        grpc.aio.UnaryStreamMultiCallable,
        grpc.aio.StreamUnaryMultiCallable,
        grpc.aio.StreamStreamMultiCallable,
    )
}
"""One class for each kind of method, so that ``isinstance`` says of the result what it says of the method."""


def _inside(parts: _Parts) -> _Parts:
    outer = current_overrides.get()
    return parts if outer is None else {**outer, **parts}


def _given(function: str, limits: Timeouts | None, parts: Mapping[str, float | None]) -> _Parts:
    if limits is None:
        if not parts:
            raise TypeError(f"{function}() needs a Timeouts or at least one part by name: {', '.join(PARTS)}")
        return checked_parts(function, parts)
    if not isinstance(limits, Timeouts):
        raise TypeError(
            f"{function}() takes a Timeouts, or parts by name such as total=2.0; got {type(limits).__name__} ({limits!r})"
        )
    if parts:
        raise TypeError(f"{function}() takes a Timeouts or parts by name, not both")
    return parts_of(limits)
