"""An echo server in a process of its own, to be killed, frozen or wedged: ``python echo_process.py [HOST]``.

It prints its address and serves until its input ends. A message ``wedge`` blocks its event loop for good.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio

WEDGE = b"wedge"
METHOD = "/test.Grid/Echo"


async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    """Answer each message with itself."""
    async for request in requests:
        if request == WEDGE:
            time.sleep(3600)  # noqa: ASYNC251 # sleep: this is the wedge: a handler that blocks everything of Python's
        yield request


async def serve(host: str) -> None:
    """Serve until the input ends."""
    tolerant = [("grpc.so_reuseport", 0), ("grpc.http2.max_ping_strikes", 0)]
    server = grpc.aio.server(options=tolerant)
    handler: Any = grpc.method_handlers_generic_handler(
        "test.Grid", {"Echo": grpc.stream_stream_rpc_method_handler(echo)}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port(f"{host}:0")
    await server.start()
    print(f"{host}:{port}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def process(*prefix: str, host: str = "127.0.0.1") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the server behind the command ``prefix``; yield the process and its address."""
    command = [*prefix, sys.executable, __file__, host]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            target = running.stdout.readline().strip()
            assert target, "the server did not start"
            yield running, target
        finally:
            running.kill()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"))
