"""Random cancellation against random calls: nothing hangs, nothing is left behind, every end is one of the right ones."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.scope import Reason, Scope
from tests.peers import PATIENCE, SyncServer, path

CALLS = 600


def slow_or_fast(request: bytes, context: Any) -> bytes:
    """Answer after the milliseconds that the request names, or when the RPC is over."""
    over = threading.Event()
    context.add_callback(over.set)
    over.wait(int(request) / 1000)
    return request


@pytest.fixture
def target() -> Any:
    server = SyncServer({"UnaryUnary": slow_or_fast}, workers=32)
    yield server.target
    server.close()


def expected(scope: Scope) -> set[str]:
    """Return the outcomes that are right for a call in ``scope`` after it has ended."""
    allowed = {"OK"}
    if scope.deadline is not None and scope.deadline < monotonic() + 0.05:
        allowed.add("DEADLINE_EXCEEDED")
    if scope.reason is not None:
        allowed.add("CANCELLED")
    return allowed


def test_blocking_calls_of_many_threads(target: str) -> None:
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []

    def caller(seed: int, killers: ThreadPoolExecutor, call: Any) -> None:
        dice = random.Random(seed)
        for _ in range(CALLS // 6):
            scope = Scope(monotonic() + dice.choice((0.001, 0.01, 5)), "inherited:/a/b", "/a/b")
            current_scope.set(scope)
            killer = killers.submit(kill, scope, dice.random() * 0.004) if dice.random() < 0.5 else None
            try:
                call(dice.choice((b"0", b"0", b"1", b"20")))
                outcome = "OK"
            except grpc.RpcError as error:
                outcome = error.code().name
            if killer is not None:
                killer.result(PATIENCE)
            if outcome not in expected(scope) or len(scope.members):
                wrong.append(f"{outcome} with {len(scope.members)} left")
            outcomes[outcome] += 1

    def kill(scope: Scope, delay: float) -> None:
        threading.Event().wait(delay)
        scope.cancel(Reason.CLIENT_CANCELLED)

    with grpc_heartbeat.insecure_channel(target) as channel, ThreadPoolExecutor(6) as killers:
        call = channel.unary_unary(path("UnaryUnary"))
        threads = [threading.Thread(target=caller, args=(seed, killers, call)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
    assert not wrong
    assert outcomes.total() == CALLS // 6 * 6
    assert min(outcomes["OK"], outcomes["CANCELLED"], outcomes["DEADLINE_EXCEEDED"]) > 0


async def test_awaited_calls_of_many_tasks(target: str) -> None:
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []

    async def caller(seed: int, call: Any) -> None:
        dice = random.Random(seed)
        loop = asyncio.get_running_loop()
        for _ in range(CALLS // 20):
            scope = Scope(monotonic() + dice.choice((0.001, 0.01, 5)), "inherited:/a/b", "/a/b")
            current_scope.set(scope)
            killer = loop.call_later(dice.random() * 0.004, scope.cancel, Reason.CLIENT_CANCELLED)
            if dice.random() < 0.5:
                killer.cancel()
            try:
                await call(dice.choice((b"0", b"0", b"1", b"20")))
                outcome = "OK"
            except grpc.RpcError as error:
                outcome = error.code().name
            except asyncio.CancelledError:
                outcome = "CANCELLED"
            killer.cancel()
            if outcome not in expected(scope):
                wrong.append(outcome)
            outcomes[outcome] += 1

    async with grpc_heartbeat.aio.insecure_channel(target) as channel:
        call = channel.unary_unary(path("UnaryUnary"))
        await asyncio.wait_for(asyncio.gather(*(caller(seed, call) for seed in range(20))), 60)
    assert not wrong
    assert outcomes.total() == CALLS // 20 * 20
    assert min(outcomes["OK"], outcomes["CANCELLED"], outcomes["DEADLINE_EXCEEDED"]) > 0
