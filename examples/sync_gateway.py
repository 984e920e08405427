"""A sync gateway in front of ``examples.aio_server``: its handler only forwards, deadline and cancel go through by themselves.

Starts, makes one call through itself and one that the client gives up, and stops.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

import grpc_heartbeat as hb

UPSTREAM = os.environ.get("EXAMPLE_ADDRESS", "127.0.0.1:50051")


def main() -> None:
    """Serve, be one's own client twice, stop."""
    with hb.insecure_channel(UPSTREAM, heartbeat=hb.HeartbeatPolicy(interval=1)) as upstream:
        count: Any = upstream.unary_stream("/example.Counter/Count")

        def forward(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            yield from count(request)

        with ThreadPoolExecutor(4) as pool:
            server = grpc.server(pool, interceptors=hb.server_interceptors(), options=hb.server_options())
            handlers: dict[str, Any] = {"Count": grpc.unary_stream_rpc_method_handler(forward)}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("example.Counter", handlers),))
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            use(f"127.0.0.1:{port}")
            server.stop(1).wait()


def use(gateway: str) -> None:
    """Count with a budget, then give up after the first number."""
    with grpc.insecure_channel(gateway) as channel:
        count: Any = channel.unary_stream("/example.Counter/Count")
        numbers = [number.decode() for number in count(b"", timeout=0.5)]
        print(f"with a budget: {len(numbers)} numbers, the last: {numbers[-1]}")
        call = count(b"")
        print(f"without one: {next(call).decode()}")
        call.cancel()


if __name__ == "__main__":
    main()
