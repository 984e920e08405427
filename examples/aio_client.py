"""An asyncio client with a budget: three calls share half a second, and nobody counts for longer than that."""

from __future__ import annotations

import asyncio
import os

import grpc

import grpc_heartbeat as hb

ADDRESS = os.environ.get("EXAMPLE_ADDRESS", "127.0.0.1:50051")


async def main() -> None:
    """Read three streams under one limit and say how each ended."""
    options = hb.aio.client_options(connect_timeout=3)
    async with hb.aio.insecure_channel(ADDRESS, options=options) as channel:
        count = channel.unary_stream("/example.Counter/Count")
        with hb.deadline.limit(0.5):
            for attempt in range(3):
                numbers = 0
                try:
                    async for _ in count(b""):
                        numbers += 1
                    print(f"call {attempt}: the server stopped after {numbers} numbers")
                except grpc.RpcError as error:
                    facts = hb.errors.timeout_of(error)
                    print(f"call {attempt}: {error.details()}" + (f" [{facts.layer}]" if facts else ""))


if __name__ == "__main__":
    asyncio.run(main())
