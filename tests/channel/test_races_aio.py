"""Asyncio calls with short limits, killed at random in every way there is: each ends, rightly named, and nothing is left."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts
from grpc_heartbeat._current import current_scope
from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.errors import timeout_of
from tests.channel.ways_aio import WAYS, Way
from tests.peers import SyncServer

CALLS = 700
CALLERS = 10
LIMIT = 0.06
MANNERS = ("await", "task cancel", "call cancel", "scope", "scope from a thread", "drop")


class Erratic:
    """Accepts and answers each call after the milliseconds that its first request names, or never."""

    def __init__(self) -> None:
        self._server = SyncServer(
            {
                "UnaryUnary": lambda request, context: self._one(iter([request]), context),
                "UnaryStream": lambda request, context: self._many(iter([request]), context),
                "StreamUnary": self._one,
                "StreamStream": self._many,
            },
            workers=32,
        )
        self.target = self._server.target

    def _one(self, requests: Iterator[bytes], context: Any) -> bytes:
        first, *_ = self._many(requests, context)
        return first

    def _many(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        over = threading.Event()
        context.add_callback(over.set)
        request = next(requests, b"0 0")
        before, after = (int(part) / 1000 for part in request.split())
        over.wait(before)
        if not over.is_set():
            context.send_initial_metadata((("accepted", "yes"),))
        for _ in requests:
            pass
        for _ in range(2):
            over.wait(after)
            yield request

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def erratic() -> Iterator[Erratic]:
    server = Erratic()
    yield server
    server.close()


async def one_call(channel: Any, dice: random.Random, killers: ThreadPoolExecutor) -> str:
    """Make one call, perhaps end it, and say how it went."""
    way = dice.choice(list(WAYS.values()))
    manner = dice.choice(MANNERS)
    request = b"%d %d" % (dice.choice((0, 0, 1, 300)), dice.choice((0, 0, 1, 300)))
    scope = Scope(None, "inherited:/a/b", "/a/b")
    token = current_scope.set(scope)
    call = way.start(channel, [request])
    current_scope.reset(token)
    if manner == "drop" and way.kind.endswith("Stream"):
        return "dropped"
    task = asyncio.ensure_future(way.finish(call, [request]))
    loop = asyncio.get_running_loop()
    delay = dice.random() * LIMIT
    kill: Any = {
        "task cancel": lambda: task.cancel(),
        "call cancel": lambda: call.cancel(),
        "scope": lambda: scope.cancel(Reason.CLIENT_CANCELLED),
        "scope from a thread": lambda: killers.submit(scope.cancel, Reason.EXPIRED),
    }.get(manner, lambda: None)
    handle = loop.call_later(delay, kill)
    try:
        await task
        outcome = "OK"
    except grpc.aio.AioRpcError as error:
        outcome = named(error, manner, way, await call.initial_metadata())
    except asyncio.CancelledError:
        outcome = "cancelled" if manner.endswith("cancel") else f"wrong: cancelled by {manner}"
    except asyncio.InvalidStateError as error:
        outcome = "cancelled" if manner == "call cancel" and call.cancelled() else f"wrong: {error!r} by {manner}"
    handle.cancel()
    if manner == "task cancel":
        call.cancel()  # grpcio leaves some calls alone whose writer was cancelled
    elif not call.done():
        return f"wrong: {outcome} by {manner}, but the call goes on"
    return outcome


def named(error: grpc.aio.AioRpcError, manner: str, way: Way, accepted: grpc.aio.Metadata) -> str:
    """Return the layer that ended the call, checked against what can have ended it."""
    facts = timeout_of(error)
    if facts is None:
        return "cancelled" if manner == "call cancel" else f"wrong: {error!r} by {manner}"
    possible = {
        "header": not accepted,
        "idle": way.kind.endswith("Stream"),
        "write": way.kind.startswith("Stream"),
        "total": True,
        "scope": manner.startswith("scope"),
    }.get(facts.layer, False)
    return facts.layer if possible else f"wrong: {facts.layer} by {manner} of {way.kind}, accepted: {accepted}"


async def test_random_ends_of_limited_calls(erratic: Erratic) -> None:
    outcomes: Counter[str] = Counter()
    limits = Timeouts(connect=LIMIT, header=LIMIT, idle=2 * LIMIT, write=LIMIT, total=2.5 * LIMIT)

    async def caller(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(CALLS // CALLERS):
            outcomes[await one_call(channel, dice, killers)] += 1

    with ThreadPoolExecutor(4) as killers:
        channel = grpc_heartbeat.aio.insecure_channel(erratic.target, timeouts=limits)
        await channel.channel_ready()
        await asyncio.wait_for(asyncio.gather(*(caller(seed) for seed in range(CALLERS))), 50)
        await channel.close()
    assert not [outcome for outcome in outcomes if outcome.startswith("wrong")]
    assert outcomes.total() == CALLS // CALLERS * CALLERS
    for expected in ("OK", "cancelled", "scope", "header", "idle", "dropped"):
        assert outcomes[expected], f"{expected} never happened: {outcomes}"


async def test_nothing_stays_armed_when_calls_are_done(erratic: Erratic) -> None:
    limits = Timeouts(connect=5, header=5, idle=5, write=5, total=5)
    scope = Scope(None, "inherited:/a/b", "/a/b")
    async with grpc_heartbeat.aio.insecure_channel(erratic.target, timeouts=limits) as channel:
        current_scope.set(scope)
        for way in WAYS.values():
            await asyncio.gather(*(way.run(channel, b"0 0") for _ in range(20)))
    assert not scope.members
    assert not loop_timers().armed()
