"""Which limits are watched for asyncio calls of one method, and the queue of the loop that their timers share."""

from __future__ import annotations

import asyncio

from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat.channel.layers import Layers
from grpc_heartbeat.core.lane import Lane
from grpc_heartbeat.core.limits import Limits, Part


class LoopLayers(Layers):
    """``Layers`` that keep the timer lane of the loop that their calls run on."""

    __slots__ = ("_lane", "_loop")
    _lane: Lane

    def __init__(self, limits: Limits, without: tuple[Part, ...] = (), fixed: bool = True) -> None:
        super().__init__(limits, without, fixed)
        self._loop: asyncio.AbstractEventLoop | None = None

    def lane(self, loop: asyncio.AbstractEventLoop) -> Lane:
        """Return the lane for calls that have a connection; there must be something to watch for these."""
        if loop is not self._loop and self.on_ready is not None:
            self._loop = loop
            self._lane = loop_timers(loop).lane(self.on_ready)
        return self._lane
