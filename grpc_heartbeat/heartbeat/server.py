"""Puts heartbeats and health on a synchronous server."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Literal

import grpc

from grpc_heartbeat import _grpcio_server_stream
from grpc_heartbeat._grpcio_workers import workers_of
from grpc_heartbeat._ticks import ticks
from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.frames import Load
from grpc_heartbeat.core.steering import LONGEST_ADVICE
from grpc_heartbeat.core.stream_limits import MAX_STREAMS, MAX_THREADED_STREAMS, StreamLimits
from grpc_heartbeat.health import HealthBoard
from grpc_heartbeat.heartbeat import calls, health_services
from grpc_heartbeat.heartbeat.answers import check_arguments
from grpc_heartbeat.heartbeat.condition import check_load, conditions
from grpc_heartbeat.heartbeat.held import HeldStreams
from grpc_heartbeat.heartbeat.load import LoadMeter
from grpc_heartbeat.heartbeat.pool import DaemonPool
from grpc_heartbeat.heartbeat.servicer import HeartbeatServicer
from grpc_heartbeat.telemetry.server_beats import ServerBeats

UNARY_WORKERS = 2
"""Threads for Ping and health checks, kept for a while between calls."""

_LINGER = 5.0


def add_to_server(
    server: grpc.Server,
    *,
    identity: Identity | None = None,
    board: HealthBoard | None = None,
    tracer_provider: Any = None,
    advised_interval: float = 0.0,
    max_streams: int | None = None,
    limits: StreamLimits | None = None,
    beats: HeartbeatPolicy | None = None,
    max_advised_interval: float = LONGEST_ADVICE,
    load: Callable[[], Load] | Literal["measured"] | None = "measured",
    workers: Executor | None = None,
    health: bool = True,
) -> HealthBoard:
    """Add the Heartbeat service and ``grpc.health.v1`` to ``server``, before it starts.

    Neither takes a thread of the server's own pool. Health checks and pings count against its ``maximum_concurrent_rpcs``;
    heartbeat streams do while they are opened.

    Args:
        identity: Who this process is. Default: ``Identity()``.
        board: The statuses to serve; several servers may share one. Default: a new one.
        tracer_provider: OpenTelemetry's, for the spans of beats. Default: the global one.
        advised_interval: Seconds between beats that clients are asked for; they follow up to a minute. Default 0: no advice.
        max_streams: Heartbeat streams held at a time. More are refused. Default 20,000; where grpcio is not as this library
            knows it, or with ``GRPC_HEARTBEAT_PUBLIC_API_ONLY=1``, each holds a thread, and the default is 256.
        limits: What a client may do. Default: ``StreamLimits()``.
        beats: Beat on each stream, too, by this policy's ``interval``, ``timeout``, ``misses`` and ``type``: a client that does
            not echo is cut. Default: only the clients beat.
        max_advised_interval: How far the advice grows, in seconds, while the server is busy. Default 30; 0: it does not.
        load: What acks say about how busy the process is. Default ``"measured"``: what can be measured (docs/health.md).
            ``None``: nothing. Or a function that returns a ``Load``, called ten times a second at the most; must be quick.
        workers: The pool on which the handlers run, to measure its queue delay. Its ``submit`` must not block. Default: the
            server's own, if that can be seen.
        health: Add ``grpc.health.v1``. ``False`` leaves that service to you; ``board.mirror(servicer)`` keeps yours in step. Of
            two that are added to one server, the later one answers. Default: add it.

    Returns:
        The board: set statuses on it, ``drain()`` before stopping the server, and ``close()`` it afterwards.

    Raises:
        TypeError, ValueError: an argument of the wrong type or outside its range.
    """
    by_completions = _grpcio_server_stream.usable()
    if max_streams is None:
        max_streams = MAX_STREAMS if by_completions else MAX_THREADED_STREAMS
    check_arguments(advised_interval, max_streams)
    check_load(max_advised_interval, load, workers)
    identity, board = identity or Identity(), board or HealthBoard()
    pool = workers_of(server) if workers is None else workers
    condition = conditions(
        board, load, lambda: LoadMeter(ticks, pool, lag=False), advised_interval, max_advised_interval
    )
    held = HeldStreams(
        board,
        identity,
        ServerBeats(identity, tracer_provider),
        "completions" if by_completions else "threads",
        max_streams=max_streams,
        limits=limits,
        beats=beats,
        condition=condition,
        traced=tracer_provider is not None,
    )
    servicer = HeartbeatServicer(held, min(max_streams, MAX_THREADED_STREAMS) if by_completions else max_streams)
    unary_pool = DaemonPool(UNARY_WORKERS, "grpc-heartbeat-unary", linger=_LINGER)
    _add(server, calls.SERVICE, servicer.handlers(unary_pool))
    if health:
        _add(server, health_services.SERVICE, health_services.sync_handlers(board, unary_pool))
    board.on_close(unary_pool.shutdown)
    return board


def _add(server: grpc.Server, service: str, handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_registered_method_handlers(service, handlers)
