"""Which pools there are in this process, for metrics to look at."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from grpc_heartbeat._weak import listed

if TYPE_CHECKING:
    from grpc_heartbeat.channel.pool import ChannelPool

_all: weakref.WeakSet[ChannelPool[Any]] = weakref.WeakSet()


def remember(pool: ChannelPool[Any]) -> None:
    """Have ``pool`` listed for as long as it lives."""
    _all.add(pool)


def all_pools() -> list[ChannelPool[Any]]:
    """Return the pools of this process, closed ones included."""
    return listed(lambda: _all)
