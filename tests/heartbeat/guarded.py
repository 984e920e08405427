"""Channels with a breaker, of both stacks, and servers for them, driven from synchronous tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc

import grpc_heartbeat as hb
from grpc_heartbeat.core.breaker import BreakerSnapshot
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot
from tests.channel.ways import WAYS
from tests.channel.ways_aio import WAYS as WAYS_AIO
from tests.peers import OPTIONS, PATIENCE, LoopThread, handlers, path, wait_until

BEATS = hb.HeartbeatPolicy(interval=0.2, misses=3, reconnect_min=0.05, reconnect_max=0.2)
BREAKER = hb.BreakerPolicy()
WAITING = hb.BreakerPolicy(when_open="wait")
HANG = b"hang"


class Business:
    """A sync server with heartbeats whose methods echo; requests that say so hang until it is closed."""

    def __init__(self, port: int = 0, workers: int = 32) -> None:
        self.released = threading.Event()
        self.hanging = 0
        self.pool = ThreadPoolExecutor(workers)
        self.server = grpc.server(self.pool, options=OPTIONS)
        self.board = hb.add_to_server(self.server)
        self.server.add_generic_rpc_handlers(
            (
                handlers(
                    {
                        "UnaryUnary": lambda request, _: self._answer(request),
                        "UnaryStream": lambda request, _: iter([self._answer(request)]),
                        "StreamUnary": lambda requests, _: self._answer(next(requests)),
                        "StreamStream": lambda requests, _: (self._answer(request) for request in requests),
                    }
                ),
            )
        )
        self.target = f"127.0.0.1:{self.server.add_insecure_port(f'127.0.0.1:{port}')}"
        self.server.start()

    @property
    def port(self) -> int:
        return int(self.target.rpartition(":")[2])

    def _answer(self, request: bytes) -> bytes:
        if request == HANG:
            self.hanging += 1
            self.released.wait(60)
        return request

    def close(self) -> None:
        self.released.set()
        self.server.stop(None).wait(PATIENCE)
        self.board.close()
        self.pool.shutdown()


class Guarded:
    """A channel with a breaker, and what its heartbeat told."""

    ways: tuple[str, ...]
    channel: Any

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._pool = ThreadPoolExecutor(32)

    def start(self, way: str, request: bytes, **options: Any) -> Future[Any]:
        """Make a call, to its end, on a thread or loop of its own."""
        raise NotImplementedError

    def call(self, request: bytes = b"x", way: str = "", **options: Any) -> Any:
        return self.start(way or self.ways[0], request, **options).result(PATIENCE)

    def error(self, request: bytes = b"x", way: str = "", **options: Any) -> Any:
        error = self.start(way or self.ways[0], request, **options).exception(PATIENCE)
        assert isinstance(error, grpc.RpcError), repr(error)
        return error

    def heartbeat(self) -> HeartbeatSnapshot:
        found: HeartbeatSnapshot = self.channel.heartbeat.snapshot()
        return found

    def breaker(self) -> BreakerSnapshot:
        found: BreakerSnapshot = self.channel.breaker.snapshot()
        return found

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in list(self.events) if isinstance(event, kind)]

    def wait(self, *, closed: bool) -> None:
        wait_until(lambda: self.channel.breaker.closed is closed)

    def up(self) -> None:
        wait_until(lambda: self.heartbeat().verdict is hb.events.Verdict.UP)

    def close(self) -> None:
        self._pool.shutdown()


class SyncGuarded(Guarded):
    ways = tuple(way for way in WAYS if not way.endswith("single-threaded"))

    def __init__(self, _: LoopThread, target: str, breaker: hb.BreakerPolicy = BREAKER, **options: Any) -> None:
        super().__init__()
        self.channel = hb.insecure_channel(target, breaker=breaker, **{"heartbeat": BEATS, **options})
        self.channel.heartbeat.observers.add(self.events.append)

    def start(self, way: str, request: bytes, **options: Any) -> Future[Any]:
        return self._pool.submit(WAYS[way], self.channel, [request], **options)

    def state(self) -> Any:
        seen: list[Any] = []
        self.channel.subscribe(seen.append)
        wait_until(lambda: seen)
        self.channel.unsubscribe(seen.append)
        return seen[0]

    def close(self) -> None:
        self.channel.close()
        super().close()


class AioGuarded(Guarded):
    ways = tuple(WAYS_AIO)

    def __init__(self, loop: LoopThread, target: str, breaker: hb.BreakerPolicy = BREAKER, **options: Any) -> None:
        super().__init__()
        self._loop = loop
        loop.run(self._make(target, {"heartbeat": BEATS, "breaker": breaker, **options}))

    async def _make(self, target: str, options: dict[str, Any]) -> None:
        self.channel = hb.aio.insecure_channel(target, **options)
        self.channel.heartbeat.observers.add(self.events.append)

    def start(self, way: str, request: bytes, **options: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(self._run(way, request, options), self._loop.loop)

    async def _run(self, way: str, request: bytes, options: dict[str, Any]) -> Any:
        return await WAYS_AIO[way].run(self.channel, request, **options)

    def close(self) -> None:
        self._loop.run(self.channel.close())
        super().close()


GUARDED: dict[str, Callable[..., Guarded]] = {"sync": SyncGuarded, "aio": AioGuarded}
ECHO = path("UnaryUnary")
