"""A chain of servers, one process each, joined by this library's channels: what the figures over several hops are taken from.

``python -m bench.hops sync|aio TARGET`` serves until its standard input ends, and calls ``TARGET`` unless that is empty. The
first line that it prints is its port. ``Hang`` is passed on to the last hop and never answers; the last hop prints ``began``
when it comes and ``ended <monotonic clock>`` when it is cancelled (Linux's monotonic clock is the same for all processes).
``Where`` answers with each hop's own idea of the instant of the deadline, the first hop first.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import Any

import grpc
import grpc.aio

import grpc_heartbeat
import grpc_heartbeat.aio
from grpc_heartbeat import deadline

HANG, WHERE = "/bench.Hops/Hang", "/bench.Hops/Where"
OPTIONS = [("grpc.so_reuseport", 0)]
NO_DEADLINE = 1e9


class SyncHop(grpc.GenericRpcHandler):
    def __init__(self, onward: grpc.Channel | None) -> None:
        self._hang: Any = onward and onward.unary_unary(HANG)
        self._where: Any = onward and onward.unary_unary(WHERE)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        behavior: Any = {HANG: self.hang, WHERE: self.where}.get(handler_call_details.method)
        return grpc.unary_unary_rpc_method_handler(behavior) if behavior else None

    def hang(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if self._hang is not None:
            return bytes(self._hang(request))
        over = threading.Event()
        ended: list[float] = []

        def end() -> None:
            ended.append(monotonic())
            over.set()

        context.add_callback(end)
        print("began", flush=True)
        over.wait()
        print("ended", *ended, flush=True)
        return b""

    def where(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        here = _instant()
        return json.dumps([here, *(json.loads(self._where(request)) if self._where is not None else [])]).encode()


class AioHop(grpc.GenericRpcHandler):
    def __init__(self, onward: grpc.aio.Channel | None) -> None:
        self._hang: Any = onward and onward.unary_unary(HANG)
        self._where: Any = onward and onward.unary_unary(WHERE)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        behavior: Any = {HANG: self.hang, WHERE: self.where}.get(handler_call_details.method)
        return grpc.unary_unary_rpc_method_handler(behavior) if behavior else None

    async def hang(self, request: bytes, context: Any) -> bytes:
        if self._hang is not None:
            return bytes(await self._hang(request))
        print("began", flush=True)
        try:
            return await asyncio.Future()
        finally:
            print("ended", monotonic(), flush=True)

    async def where(self, request: bytes, context: Any) -> bytes:
        here = _instant()
        return json.dumps([here, *(json.loads(await self._where(request)) if self._where is not None else [])]).encode()


def _instant() -> float:
    left = deadline.remaining()
    return monotonic() + (NO_DEADLINE if left is None else left)


def _serve_sync(target: str) -> None:
    onward = grpc_heartbeat.insecure_channel(target) if target else None
    with futures.ThreadPoolExecutor(4) as pool:
        interceptors: list[Any] = list(grpc_heartbeat.server_interceptors())
        server = grpc.server(pool, [SyncHop(onward)], interceptors=interceptors, options=OPTIONS)
        print(server.add_insecure_port("127.0.0.1:0"), flush=True)
        server.start()
        sys.stdin.read()
        server.stop(0).wait()
    if onward is not None:
        onward.close()


async def _serve_aio(target: str) -> None:
    onward = grpc_heartbeat.aio.insecure_channel(target) if target else None
    interceptors = grpc_heartbeat.aio.server_interceptors()
    server = grpc.aio.server(handlers=[AioHop(onward)], interceptors=interceptors, options=OPTIONS)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)
    if onward is not None:
        await onward.close()


@contextmanager
def chain(stack: str, hops: int) -> Iterator[tuple[str, Iterator[str]]]:
    """Run so many hops; yield the first one's address and the lines that the last one prints."""
    with ExitStack() as processes:
        target, last = "", None
        for _ in range(hops):
            command = [sys.executable, "-m", "bench.hops", stack, target]
            process = processes.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            processes.callback(process.kill)
            last = last or process
            assert process.stdout is not None
            target = f"127.0.0.1:{int(process.stdout.readline())}"
        assert last is not None
        assert last.stdout is not None
        yield target, last.stdout


if __name__ == "__main__":
    if sys.argv[1] == "sync":
        _serve_sync(sys.argv[2])
    else:
        asyncio.run(_serve_aio(sys.argv[2]))
