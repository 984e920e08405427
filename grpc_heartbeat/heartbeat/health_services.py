"""The official ``grpc.health.v1`` services of both stacks, made to follow a board."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

from grpc_heartbeat.core.frames import ServingStatus
from grpc_heartbeat.health import HealthBoard
from grpc_heartbeat.heartbeat.pool import DaemonPool

SERVICE = str(health.SERVICE_NAME)


class _OwnAttributes(health.HealthServicer):
    """grpcio's servicer sets attributes on the function ``Watch`` of its class; here that is a function of our own."""

    def Watch(self, request: Any, context: Any, send_response_callback: Any = None) -> Any:
        return super().Watch(request, context, send_response_callback)


def sync_handlers(board: HealthBoard, pool: DaemonPool) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """Return the handlers of the synchronous service. They run on ``pool``; a watcher holds no thread of it."""
    servicer = _OwnAttributes(experimental_non_blocking=True)
    board.listen(lambda service, status: servicer.set(service, int(status)))

    def check(request: Any, context: Any) -> Any:
        return servicer.Check(request, context)

    def watch(request: Any, context: Any, send_response_callback: Any) -> Any:
        return servicer.Watch(request, context, send_response_callback)

    check.experimental_thread_pool = pool  # type: ignore[attr-defined]  # read by grpcio
    watch.experimental_thread_pool = pool  # type: ignore[attr-defined]  # read by grpcio
    watch.experimental_non_blocking = True  # type: ignore[attr-defined]  # read by grpcio
    return _handlers(check, watch)


def aio_handlers(board: HealthBoard) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """Return the handlers of the asyncio service."""
    servicer = health.aio.HealthServicer()
    follower = _Follower(servicer)
    board.listen(follower.tell)

    async def check(request: Any, context: Any) -> Any:
        await follower.catch_up()
        return await servicer.Check(request, context)

    async def watch(request: Any, context: Any) -> None:
        await follower.catch_up()
        await servicer.Watch(request, context)

    return _handlers(check, watch)


class _Follower:
    """Takes statuses from the board on any thread and sets them on the asyncio servicer, the newest of each service.

    The servicer is only asked from RPCs, so before the first of them statuses just wait; from then on its loop is known.
    """

    def __init__(self, servicer: Any) -> None:
        self._servicer = servicer
        self._waiting: dict[str, ServingStatus] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, service: str, status: ServingStatus) -> None:
        """Hear from the board."""
        self._waiting[service] = status
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._start)

    async def catch_up(self) -> None:
        """Set what waits."""
        self._loop = asyncio.get_running_loop()
        while self._waiting:
            service, status = self._waiting.popitem()
            await self._servicer.set(service, int(status))

    def _start(self) -> None:
        task = asyncio.ensure_future(self.catch_up())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _handlers(check: Any, watch: Any) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    codec: dict[str, Any] = {
        "request_deserializer": health_pb2.HealthCheckRequest.FromString,
        "response_serializer": health_pb2.HealthCheckResponse.SerializeToString,
    }
    return {
        "Check": grpc.unary_unary_rpc_method_handler(check, **codec),
        "Watch": grpc.unary_stream_rpc_method_handler(watch, **codec),
    }
