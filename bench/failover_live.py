"""The fail-over over real channels: a server that answers after as long as it is told, and one channel for each design.

``python -m bench.failover_live BEGINS TAKES ENDS`` is the server. The seconds of the scene begin for both when it answers.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

import grpc_heartbeat
import grpc_heartbeat.aio
from bench.failover import ADAPTIVE, FIXED, MOST, Outcome, Query, Scene
from bench.orders import answer, worker
from grpc_heartbeat import HeartbeatPolicy, Timeouts
from grpc_heartbeat.adaptive import AdaptiveTimeouts, TotalAdapted
from grpc_heartbeat.core.frames import Load
from grpc_heartbeat.core.steering import HIGH_DELAY

METHOD = "/bench.Database/Query"
BEATS = HeartbeatPolicy(interval=0.5, misses=10)


def live(scene: Scene, seed: int) -> dict[str, Outcome]:
    """Make the queries with each of the designs, all at the same time; return what became of them."""
    with worker("bench.failover_live", scene.begins, scene.takes, scene.ends) as server:
        began = time.monotonic()
        return asyncio.run(_all(f"127.0.0.1:{server.first['port']}", scene, seed, began))


async def _all(target: str, scene: Scene, seed: int, began: float) -> dict[str, Outcome]:
    outcomes = {name: Outcome() for name in (*FIXED, ADAPTIVE)}
    await asyncio.gather(*(_design(name, target, scene, seed, began, outcome) for name, outcome in outcomes.items()))
    return outcomes


async def _design(name: str, target: str, scene: Scene, seed: int, began: float, outcome: Outcome) -> None:
    policy: Any = AdaptiveTimeouts(Timeouts(total=MOST)) if name == ADAPTIVE else Timeouts(total=FIXED[name])

    def changed(event: Any) -> None:
        assert isinstance(event, TotalAdapted)
        outcome.totals.append((event.at - began, event.after))

    if name == ADAPTIVE:
        policy.observers.add(changed)
    async with grpc_heartbeat.aio.insecure_channel(target, timeouts=policy, heartbeat=BEATS) as channel:
        call, running = channel.unary_unary(METHOD), set[asyncio.Task[None]]()
        for query in scene.queries(seed):
            await asyncio.sleep(max(0.0, began + query.at - time.monotonic()))
            task = asyncio.ensure_future(_query(call, query, outcome))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)


async def _query(call: Callable[[bytes], Awaitable[bytes]], query: Query, outcome: Outcome) -> None:
    began = time.monotonic()
    try:
        await call(str(query.latency).encode())
        outcome.answered += 1
    except grpc.aio.AioRpcError:
        if math.isinf(query.latency):
            outcome.waits.append(time.monotonic() - began)
        else:
            outcome.given_up += 1


async def serve(scene: Scene) -> None:
    async def query(request: bytes, context: Any) -> bytes:
        latency = float(request)
        await asyncio.sleep(MOST * 2 if math.isinf(latency) else latency)
        return b""

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Query": grpc.unary_unary_rpc_method_handler(query)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Database", handlers),))
    began = time.monotonic()
    grpc_heartbeat.aio.add_to_server(
        server,
        load=lambda: Load(queue_delay=HIGH_DELAY * scene.load(time.monotonic() - began)),
        max_advised_interval=0.0,
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    answer(port=port)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(serve(Scene(*map(float, sys.argv[1:]))))
