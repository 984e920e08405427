"""Health Checks as beats, on an asyncio channel: a short task for each."""

from __future__ import annotations

import asyncio
from contextvars import Context

import grpc
import grpc.aio

from grpc_heartbeat.heartbeat.health_stream import HealthStream


class AioHealthStream(HealthStream):
    """A ``HealthStream`` on a ``grpc.aio.Channel``; lives on the loop that made it."""

    _task: asyncio.Task[None] | None = None

    def _ask(self, sequence: int, limit: float) -> None:
        # An empty context: no deadline, cancel scope or span of whoever happens to run this.
        create = asyncio.get_running_loop().create_task
        self._task = Context().run(create, self._checked(sequence, limit))

    def _give_up(self) -> None:
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def _checked(self, sequence: int, limit: float) -> None:
        try:
            data = await self._check(b"", timeout=limit, wait_for_ready=False)
        except grpc.aio.AioRpcError as error:
            self._answered(sequence, error.code(), error.details())
        except Exception as error:  # UsageError has no public name; nothing else is raised here
            self.channel_closed(self, error)
        else:
            self._answered(sequence, grpc.StatusCode.OK, None, data)
