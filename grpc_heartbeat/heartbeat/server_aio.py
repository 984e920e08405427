"""Puts heartbeats and health on an asyncio server."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Literal

import grpc
import grpc.aio

from grpc_heartbeat import _grpcio_server_stream_aio
from grpc_heartbeat._ticks import loop_ticks
from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.frames import Load
from grpc_heartbeat.core.steering import LONGEST_ADVICE
from grpc_heartbeat.core.stream_limits import MAX_STREAMS, StreamLimits
from grpc_heartbeat.health import HealthBoard
from grpc_heartbeat.heartbeat import calls, health_services
from grpc_heartbeat.heartbeat.answers import check_arguments
from grpc_heartbeat.heartbeat.condition import check_load, conditions
from grpc_heartbeat.heartbeat.held import HeldStreams
from grpc_heartbeat.heartbeat.load import LoadMeter
from grpc_heartbeat.heartbeat.servicer_aio import AioHeartbeatServicer
from grpc_heartbeat.telemetry.server_beats import ServerBeats


def add_to_server(
    server: grpc.aio.Server,
    *,
    identity: Identity | None = None,
    board: HealthBoard | None = None,
    tracer_provider: Any = None,
    advised_interval: float = 0.0,
    max_streams: int = MAX_STREAMS,
    limits: StreamLimits | None = None,
    beats: HeartbeatPolicy | None = None,
    max_advised_interval: float = LONGEST_ADVICE,
    load: Callable[[], Load] | Literal["measured"] | None = "measured",
    workers: Executor | None = None,
    health: bool = True,
) -> HealthBoard:
    """Add the Heartbeat service and ``grpc.health.v1`` to ``server``, before it starts.

    Arguments, result and errors are those of ``grpc_heartbeat.add_to_server``; ``max_streams`` is always 20,000 by default,
    because a stream never holds a thread here. ``workers`` is the pool of handlers that are plain functions. The board may be
    used from the loop and from any thread.
    """
    check_arguments(advised_interval, max_streams)
    check_load(max_advised_interval, load, workers)
    identity, board = identity or Identity(), board or HealthBoard()
    condition = conditions(
        board, load, lambda: LoadMeter(loop_ticks, workers, lag=True), advised_interval, max_advised_interval
    )
    held = HeldStreams(
        board,
        identity,
        ServerBeats(identity, tracer_provider),
        "asyncio joined" if _grpcio_server_stream_aio.usable() else "asyncio",
        max_streams=max_streams,
        limits=limits,
        beats=beats,
        condition=condition,
        traced=tracer_provider is not None,
    )
    _add(server, calls.SERVICE, AioHeartbeatServicer(held).handlers())
    if health:
        _add(server, health_services.SERVICE, health_services.aio_handlers(board))
    return board


def _add(server: grpc.aio.Server, service: str, handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_registered_method_handlers(service, handlers)
