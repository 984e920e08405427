"""A server that can be made sick: ``python -m bench.detection.node STACK PORT``, port 0 picks one.

It prints its port and takes orders on its standard input. ``block SECONDS``: the event loop's thread sleeps (asyncio). ``stick
SECONDS``: every worker of the pool sleeps, and calls wait behind them (sync). ``burn SECONDS THREADS``: threads compute.
``stall PAUSE EVERY SECONDS``: the loop, or whoever wants the interpreter, stands still for a while, now and then.
``fatten PAUSE`` and ``collect EVERY SECONDS``: collections of garbage that take that long. ``standstill`` answers with the
longest time for which the process did not run as it should, and how much CPU it got, since the last time it was asked.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio

import grpc_heartbeat
import grpc_heartbeat.aio
from bench.detection.trouble import Pulse, burn, collect, fatten, stall
from bench.orders import answer

OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ("grpc.keepalive_permit_without_calls", 1),
]
ECHO, HOLD = "/bench.Detection/Echo", "/bench.Detection/Hold"
WORKERS = 4


class Handlers(grpc.GenericRpcHandler):
    """A business method, and a stream that stays silent."""

    def __init__(self, echo: Any, hold: Any) -> None:
        self._handlers: dict[str, Any] = {
            ECHO: grpc.unary_unary_rpc_method_handler(echo),
            HOLD: grpc.unary_stream_rpc_method_handler(hold),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        return self._handlers.get(handler_call_details.method)


def serve_sync(port: int) -> None:
    pool, over = ThreadPoolExecutor(WORKERS + 1), threading.Event()

    def hold(request: bytes, context: grpc.ServicerContext) -> Any:  # it keeps one worker more
        yield b""
        over.wait()

    server = grpc.server(pool, [Handlers(lambda request, context: request, hold)], options=OPTIONS)
    grpc_heartbeat.add_to_server(server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    answer(port=bound)

    def stick(seconds: float) -> None:
        for _ in range(WORKERS):
            pool.submit(time.sleep, seconds)

    obey({"stick": stick, "stall": stall})


async def serve_aio(port: int) -> None:
    async def echo(request: bytes, context: Any) -> bytes:
        return request

    async def hold(request: bytes, context: Any) -> Any:
        yield b""
        await asyncio.Event().wait()

    server = grpc.aio.server(handlers=[Handlers(echo, hold)], options=OPTIONS)
    grpc_heartbeat.aio.add_to_server(server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    answer(port=bound)
    loop = asyncio.get_running_loop()

    def block(seconds: float) -> None:
        loop.call_soon_threadsafe(time.sleep, seconds)

    def stall_loop(pause: float, every: float, seconds: float) -> None:
        stall(pause, every, seconds, block)

    await asyncio.to_thread(obey, {"block": block, "stall": stall_loop})


def obey(special: dict[str, Callable[..., None]]) -> None:
    """Obey orders until there are no more; ``special`` are those that depend on the stack."""
    orders: dict[str, Callable[..., None]] = {"burn": burn, "fatten": fatten, "collect": collect, **special}
    pulse = Pulse()
    for line in sys.stdin:
        order, *words = line.split()
        at = time.monotonic()
        if order == "standstill":
            answer(at=at, **pulse.take())
        else:
            orders[order](*map(float, words))
            answer(at=at)


def main() -> None:
    stack, port = sys.argv[1:]
    if stack == "sync":
        serve_sync(int(port))
    else:
        asyncio.run(serve_aio(int(port)))


if __name__ == "__main__":
    main()
