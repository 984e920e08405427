"""Those who watch a server: a client of each stack of this library, and a plain gRPC call with keepalive."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import grpc
import grpc.aio

import grpc_heartbeat
import grpc_heartbeat.aio
from bench.detection.node import ECHO, HOLD
from grpc_heartbeat import HeartbeatPolicy
from grpc_heartbeat.config import BreakerPolicy
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.verdicts import VerdictChanged

POLICY = HeartbeatPolicy(interval=0.2, misses=3, reconnect_min=0.1, reconnect_max=0.2)
BREAKER = BreakerPolicy(open_min=0.1, open_max=0.2)
CALL = 0.3
"""Seconds that a business call may take."""

PATIENCE = 20.0
KEEPALIVE = [
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 1000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


class Client:
    """A channel of ours with the changes of its verdict: when, and to what."""

    stack: str
    channel: Any

    def __init__(self) -> None:
        self.changes: list[tuple[float, str]] = []

    def verdict(self) -> str:
        """Return what is thought of the server now."""
        name: str = self.channel.heartbeat.snapshot().verdict.name
        return name

    @property
    def told(self) -> str:
        """The verdict that observers heard of last; they hear of it a moment after it is there."""
        return self.changes[-1][1] if self.changes else ""

    def call(self) -> bool:
        """Make a business call; tell whether it succeeded."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def since(self, instant: float, *verdicts: str) -> float | None:
        """Return how many seconds after ``instant`` one of the verdicts was reached; ``None`` if none was."""
        return next((at - instant for at, name in list(self.changes) if at >= instant and name in verdicts), None)

    def _heard(self, event: Event) -> None:
        if isinstance(event, VerdictChanged):
            self.changes.append((event.at, event.after.name))


class SyncClient(Client):
    """On the sync stack."""

    stack = "sync"

    def __init__(self, target: str) -> None:
        super().__init__()
        self.channel = grpc_heartbeat.insecure_channel(target, heartbeat=POLICY, breaker=BREAKER)
        self.channel.heartbeat.observers.add(self._heard)
        self._echo: Any = self.channel.unary_unary(ECHO)

    def call(self) -> bool:
        try:
            self._echo(b"", timeout=CALL)
        except grpc.RpcError:
            return False
        return True

    def close(self) -> None:
        self.channel.close()


class AioClient(Client):
    """On the asyncio stack, on a loop and a thread of its own."""

    stack = "aio"

    def __init__(self, target: str) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self._open(target))

    async def _open(self, target: str) -> None:
        self.channel = grpc_heartbeat.aio.insecure_channel(target, heartbeat=POLICY, breaker=BREAKER)
        self.channel.heartbeat.observers.add(self._heard)
        self._echo: Any = self.channel.unary_unary(ECHO)

    def call(self) -> bool:
        return bool(self._run(self._call()))

    async def _call(self) -> bool:
        try:
            await self._echo(b"", timeout=CALL)
        except grpc.aio.AioRpcError:
            return False
        return True

    def close(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        await self.channel.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            await asyncio.wait(left, timeout=1)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)


class Keepalive:
    """What gRPC offers by itself: a call is held on a channel whose transport pings."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target, KEEPALIVE)
        hold: Any = self._channel.unary_stream(HOLD)
        self._call = hold(b"", wait_for_ready=True)
        self.noticed_at: float | None = None
        next(self._call)
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        try:
            next(self._call)
        except grpc.RpcError:
            self.noticed_at = time.monotonic()

    def close(self) -> None:
        self._call.cancel()
        self._thread.join()
        self._channel.close()
