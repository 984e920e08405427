"""``grpc.health.v1`` for both stacks, from a board: Check, Watch and List as the protocol's comments ask.

Check fails with NOT_FOUND for a name that nothing was said about. Watch answers such a name with SERVICE_UNKNOWN and stays
open, sends a status only if it differs from the one before, and sends a slow reader the newest. List fails with
RESOURCE_EXHAUSTED above 100 names. Once the board has left service (its drain's probe period is over), Watches end with OK and
new ones are refused with UNAVAILABLE and without a status: gRPC's own clients ask again at once after a stream on which they
heard something, and with back-off after one on which they did not.

The servicers of grpcio-health-checking are not used, because they lack List, repeat statuses (sync), hold a stopping server
(asyncio), and keep their thread pool in an attribute that all instances share.
"""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2

from grpc_heartbeat.core.health_board import LIST_LIMIT, SERVICE_UNKNOWN
from grpc_heartbeat.health import HealthBoard
from grpc_heartbeat.health.listing import encode_list
from grpc_heartbeat.health.watches import SyncWatches
from grpc_heartbeat.health.watches_aio import AioWatches
from grpc_heartbeat.heartbeat.pool import DaemonPool

SERVICE = str(health.SERVICE_NAME)

_SENDERS = 8
_LINGER = 5.0
_SHOWN = 100  # characters of a stranger's name that are repeated to it

_RESPONSES: dict[int | None, Any] = {
    status: health_pb2.HealthCheckResponse(status=status) for status in range(SERVICE_UNKNOWN + 1)
}


def sync_handlers(board: HealthBoard, pool: DaemonPool) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """Return the handlers of the synchronous service. They run on ``pool``, and a watcher holds no thread of it.

    Closing the board ends the threads that write to watchers.
    """
    senders = DaemonPool(_SENDERS, "grpc-heartbeat-health", linger=_LINGER)
    watches = SyncWatches(board, senders, _RESPONSES)
    board.on_close(senders.shutdown)

    def check(request: Any, context: Any) -> Any:
        status = board.find(request.service)
        if status is None:
            context.abort(grpc.StatusCode.NOT_FOUND, _unknown(request.service))
        return _RESPONSES[status]

    def watch(request: Any, context: Any, send: Any = None) -> Any:
        return watches.serve(request.service, context, send)

    def list_(_request: bytes, context: Any) -> bytes:
        statuses = board.statuses()
        if len(statuses) > LIST_LIMIT:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, _too_many(len(statuses)))
        return encode_list(statuses)

    behaviors: tuple[Any, ...] = (check, watch, list_)
    for behavior in behaviors:
        behavior.experimental_thread_pool = pool  # read by grpcio
    watch.experimental_non_blocking = True  # type: ignore[attr-defined]  # read by grpcio
    return _handlers(check, watch, list_)


def aio_handlers(board: HealthBoard) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """Return the handlers of the asyncio service."""
    watches = AioWatches(board, _RESPONSES)

    async def check(request: Any, context: Any) -> Any:
        status = board.find(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, _unknown(request.service))
        return _RESPONSES[status]

    async def watch(request: Any, context: Any) -> None:
        await watches.serve(request.service, context)

    async def list_(_request: bytes, context: Any) -> bytes:
        statuses = board.statuses()
        if len(statuses) > LIST_LIMIT:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, _too_many(len(statuses)))
        return encode_list(statuses)

    return _handlers(check, watch, list_)


def _unknown(service: str) -> str:
    name = service if len(service) <= _SHOWN else service[:_SHOWN] + "…"
    return f"nothing was said about the health of a service named {name!r}; List names those that are known"


def _too_many(count: int) -> str:
    return f"{count} services have a status, and List returns at most {LIST_LIMIT}; use Check or Watch by name"


def _handlers(check: Any, watch: Any, list_: Any) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    codec: dict[str, Any] = {
        "request_deserializer": health_pb2.HealthCheckRequest.FromString,
        "response_serializer": health_pb2.HealthCheckResponse.SerializeToString,
    }
    return {
        "Check": grpc.unary_unary_rpc_method_handler(check, **codec),
        "Watch": grpc.unary_stream_rpc_method_handler(watch, **codec),
        "List": grpc.unary_unary_rpc_method_handler(list_),
    }
