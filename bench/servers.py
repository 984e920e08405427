"""The servers under load: one process per stack, one server per variant in it.

``python -m bench.servers sync|aio`` prints the port of each variant as one line of JSON and serves until its standard input
ends. Messages are raw bytes, so that no time goes to protobuf. The process answers how much CPU it has used, which is how
the cost of a server is measured: only one of its servers is under load at a time. Metrics are of a whole process; so they are
turned on before a call to the variant that has them, and off before one to another, by a server that nobody measures.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio

from bench import telemetry, variants

UNARY, STREAM, CPU = "/bench.Bench/Unary", "/bench.Bench/Stream", "/bench.Bench/CpuSeconds"
MEASURE = "/bench.Bench/Measure"
CONTROL = "control"
"""The server that is asked for the CPU clock and told to measure, so that no measured one is warmer than others by it."""
NO_PORT_SHARING = [("grpc.so_reuseport", 0)]


class SyncHandlers(grpc.GenericRpcHandler):
    """Echo, a stream of as many messages as the request says, the CPU clock of the process, and its metrics on or off."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        return self._handlers.get(handler_call_details.method)

    def __init__(self) -> None:
        self._handlers: dict[str, Any] = {
            UNARY: grpc.unary_unary_rpc_method_handler(self._unary),
            STREAM: grpc.unary_stream_rpc_method_handler(self._stream),
            CPU: grpc.unary_unary_rpc_method_handler(self._cpu),
            MEASURE: grpc.unary_unary_rpc_method_handler(self._measure),
        }

    def _unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return request

    def _stream(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for _ in range(int(request)):
            yield request

    def _cpu(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return repr(time.process_time()).encode()

    def _measure(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        telemetry.measure(bool(request))
        return b""


class AioHandlers(grpc.GenericRpcHandler):
    """The same for the asyncio stack."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        return self._handlers.get(handler_call_details.method)

    def __init__(self) -> None:
        self._handlers: dict[str, Any] = {
            UNARY: grpc.unary_unary_rpc_method_handler(self._unary),
            STREAM: grpc.unary_stream_rpc_method_handler(self._stream),
            CPU: grpc.unary_unary_rpc_method_handler(self._cpu),
            MEASURE: grpc.unary_unary_rpc_method_handler(self._measure),
        }

    async def _unary(self, request: bytes, context: Any) -> bytes:
        return request

    async def _stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(int(request)):
            yield request

    async def _cpu(self, request: bytes, context: Any) -> bytes:
        return repr(time.process_time()).encode()

    async def _measure(self, request: bytes, context: Any) -> bytes:
        telemetry.measure(bool(request))
        return b""


def _announce(ports: dict[str, int]) -> None:
    print(json.dumps(ports), flush=True)


def _serve_sync() -> None:
    ports, servers = {}, []
    with futures.ThreadPoolExecutor(4) as pool:
        for variant in [*variants.sync_servers(), variants.ServerVariant(CONTROL, list)]:
            interceptors = variant.interceptors()
            server = grpc.server(pool, [SyncHandlers()], interceptors=interceptors, options=NO_PORT_SHARING)
            ports[variant.name] = server.add_insecure_port("127.0.0.1:0")
            server.start()
            servers.append(server)
        _announce(ports)
        sys.stdin.read()
        for server in servers:
            server.stop(0).wait()


async def _serve_aio() -> None:
    ports, servers = {}, []
    for variant in [*variants.aio_servers(), variants.ServerVariant(CONTROL, list)]:
        interceptors = variant.interceptors()
        server = grpc.aio.server(handlers=[AioHandlers()], interceptors=interceptors, options=NO_PORT_SHARING)
        ports[variant.name] = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
    _announce(ports)
    await asyncio.to_thread(sys.stdin.read)
    for server in servers:
        await server.stop(0)


class RunningServers:
    """The process of one stack's servers, seen from outside."""

    def __init__(self, ports: dict[str, int], channel: grpc.Channel) -> None:
        self.targets = {name: f"127.0.0.1:{port}" for name, port in ports.items() if name != CONTROL}
        self._cpu: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CPU)
        self._measure: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(MEASURE)

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that the process has used; asking costs it one bare call."""
        return float(self._cpu(b"", timeout=30))

    def prepare(self, name: str) -> None:
        """Turn metrics on or off, as the next call wants them; outside of the clock, and for each variant alike."""
        self._measure(b"1" if name in variants.MEASURED else b"", timeout=30)


@contextmanager
def running(stack: str) -> Iterator[RunningServers]:
    """Run the servers of ``stack`` in a process of their own for the length of the block."""
    command = [sys.executable, "-m", "bench.servers", stack]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            ports = json.loads(process.stdout.readline())
            with grpc.insecure_channel(f"127.0.0.1:{ports[CONTROL]}") as channel:
                yield RunningServers(ports, channel)
            process.stdin.close()
            process.wait(timeout=30)
        finally:
            process.kill()


if __name__ == "__main__":
    if sys.argv[1] == "sync":
        _serve_sync()
    else:
        asyncio.run(_serve_aio())
