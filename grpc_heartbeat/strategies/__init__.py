"""Heartbeats over other protocols: one interface, strategies by name, and your own beside them.

``Prober(name, target)`` asks a peer in a fixed rhythm and judges it as heartbeats are judged; ``aio.Prober`` does so on an
event loop. Strategies: ``grpc``, ``http2-ping``, ``quic-ping``, ``tcp``, ``websocket-ping``, those that packages bring, and
what is given to ``register``. What each of them proves, and what it does not, is in docs/strategies.md. The extra
``strategies`` installs the libraries of HTTP/2, QUIC and WebSocket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc_heartbeat._lazy import loader

__all__ = [
    "Ack",
    "Beat",
    "Factory",
    "LeftError",
    "Lost",
    "LostError",
    "MissingExtraError",
    "Prober",
    "RefusedError",
    "Strategy",
    "StrategyError",
    "UnknownStrategyError",
    "aio",
    "get",
    "names",
    "register",
    "unregister",
]

if TYPE_CHECKING:
    from grpc_heartbeat._extras import MissingExtraError
    from grpc_heartbeat.core.frames import Ack, Beat
    from grpc_heartbeat.strategies import aio
    from grpc_heartbeat.strategies.prober import Prober
    from grpc_heartbeat.strategies.registry import UnknownStrategyError, get, names, register, unregister
    from grpc_heartbeat.strategies.strategy import (
        Factory,
        LeftError,
        Lost,
        LostError,
        RefusedError,
        Strategy,
        StrategyError,
    )
else:
    _STRATEGY = f"{__name__}.strategy"
    _REGISTRY = f"{__name__}.registry"

    __getattr__ = loader(
        __name__,
        {
            "Ack": "grpc_heartbeat.core.frames",
            "Beat": "grpc_heartbeat.core.frames",
            "MissingExtraError": "grpc_heartbeat._extras",
            "Prober": f"{__name__}.prober",
            "aio": f"{__name__}.aio",
            **dict.fromkeys(("UnknownStrategyError", "get", "names", "register", "unregister"), _REGISTRY),
            **dict.fromkeys(
                ("Factory", "LeftError", "Lost", "LostError", "RefusedError", "Strategy", "StrategyError"), _STRATEGY
            ),
        },
    )
