"""Makes inner channels' multicallables, and the options of the channels that this library makes itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeGuard

from grpc_heartbeat._types import ChannelOptions
from grpc_heartbeat.config import BreakerPolicy, HeartbeatPolicy
from grpc_heartbeat.policy import TimeoutPolicy

if TYPE_CHECKING:
    from grpc_heartbeat.adaptive import AdaptiveTimeouts

_MOST = 2**31 - 1

_CONNECT_OPTIONS = {
    "grpc.min_reconnect_backoff_ms": _MOST,
    "grpc.initial_reconnect_backoff_ms": 1000,  # gRPC's default: a peer that was refused once is tried again as soon as always
    "grpc.dns_ares_query_timeout": _MOST,
}
"""What bounds one attempt to connect in gRPC's core, with the most that we set: the larger of the first two for TCP, TLS and
HTTP/2; the third for DNS."""


_OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)
"""Keeps a channel from sharing the connection of another one in the process that has the same target and options."""


def own_connection(options: list[tuple[str, Any]] | None, generation: int) -> list[tuple[str, Any]] | None:
    """Return ``options`` for the connection of this generation: all but the first are shared with nobody, and so new."""
    if not generation:
        return options
    name, _ = _OWN_CONNECTION  # of an option that is given twice, gRPC takes the first
    return [*(option for option in options or () if option[0] != name), _OWN_CONNECTION]


def check_breaker(breaker: BreakerPolicy | None, heartbeat: HeartbeatPolicy | None) -> None:
    """Check a channel's ``breaker=`` argument.

    Raises:
        TypeError: not a ``BreakerPolicy``.
        ValueError: there is no heartbeat to move it.
    """
    if breaker is None:
        return
    if not isinstance(breaker, BreakerPolicy):
        raise TypeError(f"breaker must be a BreakerPolicy, not {type(breaker).__name__}")
    if heartbeat is None:
        raise ValueError("breaker= needs heartbeat=, because a breaker is moved by heartbeats")


def make(factory: Callable[..., Any], method: str, serializer: Any, deserializer: Any, registered: bool | None) -> Any:
    """Make a multicallable on the inner channel, which may be of a kind that knows no registered methods."""
    if registered:
        return factory(method, serializer, deserializer, registered)
    return factory(method, serializer, deserializer)


def limited(kind: Any, policy: TimeoutPolicy, streams: bool, owner: Any, inner: Any, method: str, *more: Any) -> Any:
    """Return a multicallable of ours, of this class, around ``inner``, that is limited as ``policy`` says, also later on."""
    if is_adaptive(policy):
        from grpc_heartbeat.channel.adapted import adapted

        return adapted(kind, policy, streams, owner, inner, method, *more)
    made = kind(owner, inner, method, policy.limits(method, streams=streams), *more)
    policy.watch(made)
    return made


def follow_load(timeouts: object, heartbeat: Any) -> None:
    """Have totals that adapt know what the server says in the echoes of ``heartbeat``."""
    if is_adaptive(timeouts):
        timeouts.follow(heartbeat)


def is_adaptive(timeouts: object) -> TypeGuard[AdaptiveTimeouts]:
    """Tell whether ``timeouts`` are such, without importing them where nobody has."""
    adaptive = sys.modules.get("grpc_heartbeat.adaptive")
    return adaptive is not None and isinstance(timeouts, adaptive.AdaptiveTimeouts)


def connect_options(options: ChannelOptions | None, connect: float | None) -> list[tuple[str, Any]] | None:
    """Return ``options`` with gRPC's own limits for one attempt to connect set to suit a connect limit of ``connect`` seconds.

    Left alone, gRPC goes on with a dead attempt for 20 s, and calls made meanwhile wait for it in vain. A tenth more than our
    limit, and 50 ms, leaves it to us to end the call by name. The pause before the second attempt, which would lengthen the
    first, is shortened where it is longer than that, and never lengthened. What ``options`` already say is kept.
    """
    given = None if options is None else list(options)
    if connect is None:
        return given
    names = {name for name, _ in given or ()}
    milliseconds = int(connect * 1100) + 50
    return (given or []) + [
        (name, min(milliseconds, most)) for name, most in _CONNECT_OPTIONS.items() if name not in names
    ]
