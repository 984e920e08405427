"""Wrapping of method handlers: rebuilt around another behavior, once per method, and cached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import grpc

from grpc_heartbeat._types import Behavior

_T = TypeVar("_T")

OWN_SERVICE = "/grpc_heartbeat.v1.Heartbeat/"
"""Heartbeats belong to no request, so their handlers are left as they are."""

MAX_CACHED = 1024
"""Methods whose wrapped handler is kept. A generic handler may accept any name that a stranger makes up."""

_MARKS = ("experimental_non_blocking", "experimental_thread_pool")
"""Attributes by which grpcio's sync server chooses how to run a behavior; a wrapper that lost them would starve workers."""


def behavior_of(handler: Any) -> Behavior:
    """Return the function that serves the RPCs of ``handler``."""
    if handler.response_streaming:
        behavior = handler.stream_stream if handler.request_streaming else handler.unary_stream
    else:
        behavior = handler.stream_unary if handler.request_streaming else handler.unary_unary
    return behavior  # type: ignore[no-any-return]  # handlers are untyped


def with_behavior(handler: Any, behavior: Behavior) -> Any:
    """Return a method handler like ``handler`` that is served by ``behavior``."""
    if handler.response_streaming:
        make: Any = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
    else:
        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
    return make(behavior, handler.request_deserializer, handler.response_serializer)


def keep_marks(behavior: Behavior, wrapper: Behavior) -> Behavior:
    """Give ``wrapper`` the attributes of ``behavior`` that grpcio looks at; returns ``wrapper``."""
    for mark in _MARKS:
        if hasattr(behavior, mark):
            setattr(wrapper, mark, getattr(behavior, mark))
    for name in ("__name__", "__qualname__", "__doc__", "__module__"):
        if hasattr(behavior, name):
            setattr(wrapper, name, getattr(behavior, name))
    return wrapper


class HandlerCache(Generic[_T]):
    """What ``wrap(method, handler)`` made of each method's handler, for as long as the handler stays the same object.

    ``entries`` maps a method to (handler, wrapped); the interceptors look there first, because that is every RPC's path.
    """

    def __init__(self, wrap: Callable[[str, Any], _T]) -> None:
        self._wrap = wrap
        self.entries: dict[str, tuple[Any, _T]] = {}

    def get(self, method: str, handler: Any) -> _T:
        """Return the wrapped handler, made now if it is new."""
        entry = self.entries.get(method)
        if entry is not None and entry[0] is handler:
            return entry[1]
        wrapped = self._wrap(method, handler)
        if entry is None and len(self.entries) >= MAX_CACHED:
            self.entries.pop(next(iter(self.entries), ""), None)
        self.entries[method] = (handler, wrapped)
        return wrapped
