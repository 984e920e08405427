"""An asyncio server that gives its handlers their callers' deadlines and answers heartbeats and health checks.

Run it, then ``python -m examples.aio_client``, ``python -m examples.sync_gateway`` or ``grpc-heartbeat ping 127.0.0.1:50051``.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import grpc
import grpc.aio

import grpc_heartbeat as hb

ADDRESS = os.environ.get("EXAMPLE_ADDRESS", "127.0.0.1:50051")


async def count(request: bytes, context: Any) -> Any:
    """Stream numbers for as long as the caller still has time for them."""
    number = 0
    while (remaining := hb.deadline.remaining()) is None or remaining > 0.1:
        yield f"{number}, {'no limit' if remaining is None else f'{remaining:.1f} s left'}".encode()
        number += 1
        await asyncio.sleep(0.1)


async def main() -> None:
    """Serve until interrupted, then drain: heartbeats hear a goodbye, health says NOT_SERVING, running calls may finish."""
    server = grpc.aio.server(interceptors=hb.aio.server_interceptors(), options=hb.aio.server_options())
    handlers: dict[str, Any] = {"Count": grpc.unary_stream_rpc_method_handler(count)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("example.Counter", handlers),))
    board = hb.aio.add_to_server(server, identity=hb.Identity(service="counter", zone="zone-b"))
    server.add_insecure_port(ADDRESS)
    await server.start()
    interrupted = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
    print(f"listening on {ADDRESS}", flush=True)
    await interrupted.wait()
    board.drain("shutting down")
    await server.stop(2)
    board.close()
    print("stopped")


if __name__ == "__main__":
    asyncio.run(main())
