"""Methods with streams on a channel that limits its calls behind the application's interceptors.

Only the call object that the application has can be seen to be dropped, or be written to in vain, and interceptors put theirs
around ours. So here one is put around theirs, which limits nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from grpc_heartbeat import _abandoned, _faults
from grpc_heartbeat._types import AioStreamStreamBase, AioStreamUnaryBase, AioUnaryStreamBase
from grpc_heartbeat.channel.calls_aio import LimitedStreamStreamCall, LimitedStreamUnaryCall, LimitedUnaryStreamCall
from grpc_heartbeat.channel.connection_aio import Connection
from grpc_heartbeat.channel.flight_aio import Flight
from grpc_heartbeat.channel.layers_aio import LoopLayers
from grpc_heartbeat.core.limits import UNLIMITED

_NO_LAYERS = LoopLayers(UNLIMITED)


class _Droppable:
    _call_class: Callable[[Any, Flight], Any]

    def __init__(self, inner: Any, method: str, connection: Connection) -> None:
        self._inner = inner
        self._method = method
        self._connection = connection

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = self._inner(*args, **kwargs)
        try:
            flight = Flight()
            flight.method = self._method
            flight.layers = _NO_LAYERS
            flight.connection = self._connection
            flight.started = monotonic()
            droppable = self._call_class(call, flight)
            flight.begin(call)
        except Exception as error:
            _faults.record("channel.droppable_aio", error)
            return call
        if _abandoned.enabled:
            flight.made_at = _abandoned.place()
            _abandoned.watch(droppable, self._method, flight.made_at)
        return droppable


class DroppableUnaryStream(_Droppable, AioUnaryStreamBase):
    """A unary-stream method."""

    _call_class = LimitedUnaryStreamCall


class DroppableStreamUnary(_Droppable, AioStreamUnaryBase):
    """A stream-unary method."""

    _call_class = LimitedStreamUnaryCall


class DroppableStreamStream(_Droppable, AioStreamStreamBase):
    """A stream-stream method."""

    _call_class = LimitedStreamStreamCall
