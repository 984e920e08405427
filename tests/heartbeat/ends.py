"""Heartbeat servers and clients of both stacks on loopback, driven from synchronous tests."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import grpc
import grpc.aio
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from grpc_heartbeat import (
    _grpcio_client_stream,
    _grpcio_client_stream_aio,
    _grpcio_server_stream,
    _grpcio_server_stream_aio,
)
from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.heartbeat_events import StreamFailed
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot
from grpc_heartbeat.health import HealthBoard
from grpc_heartbeat.heartbeat import client, client_aio, server, server_aio
from grpc_heartbeat.heartbeat.client import SyncHeartbeat
from grpc_heartbeat.heartbeat.client_aio import AioHeartbeat
from tests.peers import OPTIONS, PATIENCE, LoopThread, wait_until

QUICK = HeartbeatPolicy(interval=0.05, misses=20, reconnect_min=0.02, reconnect_max=0.1)
IMPATIENT = HeartbeatPolicy(interval=0.1, misses=3, reconnect_min=0.02, reconnect_max=0.1)
STEADY = HeartbeatPolicy(interval=0.2)
CLIENT = Identity("checkout", "zone-a", "client-1")
SERVER = Identity("orders", "zone-b", "server-1")
CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.use_local_subchannel_pool", 1),
]


class Server:
    """A running server with heartbeats; ``port`` 0 picks one."""

    board: HealthBoard
    target: str
    public = False
    """Whether its streams are moved by public API alone."""

    def close(self) -> None:
        raise NotImplementedError


class SyncServer(Server):
    def __init__(self, _loop: LoopThread, port: int = 0, *, heartbeats: bool = True, **options: Any) -> None:
        self.pool = ThreadPoolExecutor(2)
        self.server = grpc.server(self.pool, options=OPTIONS)
        self.board = HealthBoard()
        if heartbeats:
            with by_public_api(self.public):
                server.add_to_server(self.server, **{"identity": SERVER, "board": self.board, **options})
        self.target = f"127.0.0.1:{self.server.add_insecure_port(f'127.0.0.1:{port}')}"
        self.server.start()

    def close(self) -> None:
        self.server.stop(None).wait(PATIENCE)
        self.board.close()
        self.pool.shutdown()


class AioServer(Server):
    def __init__(self, loop: LoopThread, port: int = 0, *, heartbeats: bool = True, **options: Any) -> None:
        self._loop = loop
        self.board = HealthBoard()
        loop.run(self._start(port, heartbeats, options))

    async def _start(self, port: int, heartbeats: bool, options: dict[str, Any]) -> None:
        self.server = grpc.aio.server(options=OPTIONS)
        if heartbeats:
            with by_public_api(self.public):
                server_aio.add_to_server(self.server, **{"identity": SERVER, "board": self.board, **options})
        self.target = f"127.0.0.1:{self.server.add_insecure_port(f'127.0.0.1:{port}')}"
        await self.server.start()

    def close(self) -> None:
        self._loop.run(self.server.stop(None))
        self.board.close()


class ThreadedServer(SyncServer):
    """One whose streams hold a thread each."""

    public = True


class PublicAioServer(AioServer):
    """One that joins no operations."""

    public = True


@contextlib.contextmanager
def by_public_api(wanted: bool) -> Iterator[None]:
    """Have servers that are set up meanwhile use the public API alone, if that is ``wanted``."""
    with contextlib.ExitStack() as stack:
        for seam in (_grpcio_server_stream, _grpcio_server_stream_aio) if wanted else ():
            stack.enter_context(mock.patch.object(seam, "usable", return_value=False))
        yield


class Client:
    """A started heartbeat with its channel, and the events it told."""

    heartbeat: Any

    def __init__(self) -> None:
        self.events: list[Event] = []

    def snapshot(self) -> HeartbeatSnapshot:
        found: HeartbeatSnapshot = self.heartbeat.snapshot()
        return found

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in list(self.events) if isinstance(event, kind)]

    def wait(self, state: str) -> HeartbeatSnapshot:
        wait_until(lambda: self.snapshot().state == state)
        return self.snapshot()

    def wait_for(self, kind: type[Event], count: int = 1) -> list[Any]:
        wait_until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)

    def wait_for_failure(self) -> StreamFailed:
        """Return the failure of the first stream that was open. (A busy machine may fail to connect in time.)"""
        wait_until(lambda: any(event.opened for event in self.of(StreamFailed)))
        found: StreamFailed = next(event for event in self.of(StreamFailed) if event.opened)
        return found

    def stop(self) -> None:
        raise NotImplementedError

    def restart(self) -> None:
        self.heartbeat.start()

    def move(self, channel: Any, after: float = 0.0) -> None:
        self.heartbeat.move(channel, after)

    def rests(self) -> bool:
        """Whether no stream is left."""
        return self.heartbeat._stream is None and not self.heartbeat._parting

    def close_channel(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.stop()
        self.close_channel()


class SyncClient(Client):
    def __init__(self, _loop: LoopThread, target: str, policy: HeartbeatPolicy = QUICK, **options: Any) -> None:
        super().__init__()
        self.channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
        self.heartbeat = SyncHeartbeat(self.channel, policy, CLIENT, name=target, **options)
        self.heartbeat.observers.add(self.events.append)
        self.heartbeat.start()

    def stop(self) -> None:
        self.heartbeat.close()

    def close_channel(self) -> None:
        self.channel.close()


class AioClient(Client):
    def __init__(self, loop: LoopThread, target: str, policy: HeartbeatPolicy = QUICK, **options: Any) -> None:
        super().__init__()
        self._loop = loop
        loop.run(self._start(target, policy, options))

    async def _start(self, target: str, policy: HeartbeatPolicy, options: dict[str, Any]) -> None:
        self.channel = grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
        self.heartbeat = AioHeartbeat(self.channel, policy, CLIENT, name=target, **options)
        self.heartbeat.observers.add(self.events.append)
        self.heartbeat.start()

    def stop(self) -> None:
        self._loop.run(self.heartbeat.close())

    def move(self, channel: Any, after: float = 0.0) -> None:
        async def move() -> None:
            self.heartbeat.move(channel, after)

        self._loop.run(move())

    def close_channel(self) -> None:
        self._loop.run(self.channel.close())


SERVERS: dict[str, Callable[..., Server]] = {
    "sync": SyncServer,
    "sync threads": ThreadedServer,
    "aio": AioServer,
    "aio public": PublicAioServer,
}
"""By stack and engine."""

ENGINES = ("sync", "aio", "sync public", "aio public")
"""The engines of a client's stream."""


def use_engine(monkeypatch: pytest.MonkeyPatch, public: bool) -> None:
    """Have the streams of new heartbeats made by public API, or by private names of grpcio where it has them."""
    for driver, seam in ((client, _grpcio_client_stream), (client_aio, _grpcio_client_stream_aio)):
        monkeypatch.setattr(driver, "method_of", (lambda _: None) if public else seam.method_of)


CLIENTS: dict[str, Callable[..., Client]] = {"sync": SyncClient, "aio": AioClient}


class Spans:
    """A tracer provider that keeps what it is told, and counts spans that were started and not ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.started = 0
        self._lock = threading.Lock()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(_Counting(self, self.exporter))

    @property
    def ended(self) -> list[Any]:
        return list(self.exporter.get_finished_spans())

    def count(self) -> None:
        with self._lock:
            self.started += 1


class _Counting(SimpleSpanProcessor):
    def __init__(self, spans: Spans, exporter: InMemorySpanExporter) -> None:
        super().__init__(exporter)
        self._spans = spans

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self._spans.count()
