"""Strategies by name: those of this library, those that packages bring, and those that a program registers.

A package names its own in the entry points of the group ``grpc_heartbeat.strategies``; they are looked for only when a name is
none of the others. Nobody can replace a strategy under its name, so a name means the same everywhere in a process.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import threading
from typing import Any, cast

from grpc_heartbeat._extras import require
from grpc_heartbeat.core.limits import meant
from grpc_heartbeat.strategies.strategy import Factory

GROUP = "grpc_heartbeat.strategies"
"""The group of entry points; each leads to a factory."""

_EXTRA = "strategies"
_HERE = "grpc_heartbeat.strategies"
_BUILT_IN = {
    "grpc": (f"{_HERE}.grpc_ping", "GrpcPing", ""),
    "http2-ping": (f"{_HERE}.http2", "Http2Ping", "h2.connection"),
    "quic-ping": (f"{_HERE}.quic", "QuicPing", "aioquic.asyncio"),
    "tcp": (f"{_HERE}.tcp", "TcpConnect", ""),
    "websocket-ping": (f"{_HERE}.websocket", "WebSocketPing", "websockets.asyncio.client"),
}
"""Module, class, and what must be installed."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")

_registered: dict[str, Factory] = {}
_registering = threading.Lock()


class UnknownStrategyError(LookupError):
    """No strategy has that name; the message lists those that there are."""


def register(name: str, factory: Factory) -> None:
    """Have ``get(name)`` return ``factory`` in this process.

    Args:
        name: Up to 63 lower-case letters, digits, ``.``, ``_`` and ``-``; it becomes the name of spans.
        factory: Makes a strategy of a target.

    Raises:
        TypeError: ``factory`` cannot be called.
        ValueError: ``name`` is no such name, or is taken.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"name must be 1 to 63 lower-case letters, digits, '.', '_' and '-'; got {name!r}")
    if not callable(factory):
        raise TypeError(f"factory must be callable, not {type(factory).__name__} ({factory!r})")
    with _registering:
        if name in _BUILT_IN or _registered.get(name, factory) is not factory:
            raise ValueError(f"there is a strategy {name!r} already")
        _registered[name] = factory


def unregister(name: str) -> None:
    """Undo :func:`register`; a name that was not registered is ignored."""
    with _registering:
        _registered.pop(name, None)


def get(name: str) -> Factory:
    """Return the factory of the strategy ``name``.

    Raises:
        MissingExtraError: its library is not installed; the message names the extra. It is an ``ImportError``.
        UnknownStrategyError: there is none; the message lists those that there are.
    """
    if name in _BUILT_IN:
        module, attribute, needed = _BUILT_IN[name]
        if needed:
            require(needed, extra=_EXTRA)
        return cast("Factory", getattr(importlib.import_module(module), attribute))
    factory = _registered.get(name)
    if factory is not None:
        return factory
    entry: Any = next((point for point in importlib.metadata.entry_points(group=GROUP) if point.name == name), None)
    if entry is None:
        raise UnknownStrategyError(f"there is no strategy {name!r}{meant(name, names())}; known: {', '.join(names())}")
    return cast("Factory", entry.load())


def names() -> tuple[str, ...]:
    """Return the names of all strategies that are known here, sorted, whether or not their libraries are installed."""
    brought = (point.name for point in importlib.metadata.entry_points(group=GROUP))
    return tuple(sorted({*_BUILT_IN, *_registered, *brought}))
