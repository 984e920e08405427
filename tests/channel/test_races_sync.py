"""Every layer, every way to make a call, at once, with kills at random: each call ends once, by a name that can be right."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.errors import timeout_of
from tests.channel import dead_ends
from tests.channel.ways import WAYS, options
from tests.peers import SyncServer, wait_until
from tests.seams import PUBLIC_API_ONLY

THREADS = 8
CALLS = 60
SHORT = 0.01


def wait(context: Any, milliseconds: float) -> None:
    over = threading.Event()
    context.add_callback(over.set)
    over.wait(milliseconds / 1000)


def one(request: bytes, context: Any) -> bytes:
    wait(context, int(request))
    return request


def many(request: bytes, context: Any) -> Any:
    for _ in range(2):
        wait(context, int(request))
        yield request


@pytest.fixture
def target() -> Any:
    server = SyncServer(
        {
            "UnaryUnary": one,
            "UnaryStream": many,
            "StreamUnary": lambda requests, context: one(next(requests), context),
            "StreamStream": lambda requests, context: many(next(requests), context),
        },
        workers=32,
    )
    yield server.target
    server.close()


def kill(scope: Scope, delay: float) -> None:
    threading.Event().wait(delay)
    scope.cancel(Reason.CLIENT_CANCELLED)


class Caller:
    """One thread that makes calls of every kind in every way."""

    def __init__(self, seed: int, targets: dict[str, str], killers: ThreadPoolExecutor) -> None:
        self.dice = random.Random(seed)
        self.killers = killers
        self.targets = targets
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run(self) -> None:
        parts = {part: SHORT for part in ("connect", "header", "idle", "write", "total") if self.dice.random() < 0.5}
        way = self.dice.choice(list(WAYS))
        for place, target in self.targets.items():
            limits = Timeouts(**parts) if place == "here" else Timeouts(**{**parts, "connect": SHORT})
            with grpc_heartbeat.insecure_channel(target, options=options(way), timeouts=limits) as channel:
                for _ in range(CALLS // 2):
                    self.call(place, way, channel, limits)

    def call(self, place: str, way: str, channel: grpc.Channel, limits: Timeouts) -> None:
        scope = Scope(monotonic() + self.dice.choice((SHORT, 5)), "inherited:/a/b", "/a/b")
        current_scope.set(scope)
        killer = self.killers.submit(kill, scope, self.dice.random() * SHORT) if self.dice.random() < 0.3 else None
        wait_for_ready = self.dice.choice((None, True))
        error: Any = None
        try:
            WAYS[way](channel, [self.dice.choice((b"0", b"1", b"30"))], wait_for_ready=wait_for_ready)
        except grpc.FutureCancelledError:
            if scope.reason is None:
                self.wrong.append("cancelled by nobody")
        except grpc.RpcError as raised:
            error = raised
        if killer is not None:
            killer.result(10)
        facts = timeout_of(error) if error is not None else None
        outcome = "OK" if error is None else error.code().name if facts is None else facts.layer
        self.outcomes[outcome] += 1
        self.check(place, outcome, error, facts, limits)
        wait_until(lambda: not scope.members)  # whoever ended a future may still be about to let go of it

    def check(self, place: str, outcome: str, error: Any, facts: Any, limits: Timeouts) -> None:
        if facts is None:
            # A silent port's attempts to connect fail at gRPC's own limit, a little after ours.
            if error is not None and not (place == "nowhere" and outcome == "UNAVAILABLE"):
                self.wrong.append(f"{place}: {outcome}: {error.details()}")
            return
        if facts.layer in ("connect", "header", "idle", "write"):
            if getattr(limits, facts.layer) != facts.limit or facts.elapsed < facts.limit:
                self.wrong.append(f"{facts}")
            if (facts.layer == "connect") != (error.code() is grpc.StatusCode.UNAVAILABLE):
                self.wrong.append(f"{error.code()} for {facts.layer}")
        if place == "nowhere" and facts.layer in ("header", "idle", "write"):
            self.wrong.append(f"{facts.layer} without a connection")


def test_short_limits_against_random_kills(target: str) -> None:
    with dead_ends.silent() as nowhere, ThreadPoolExecutor(THREADS) as killers:
        callers = [Caller(seed, {"here": target, "nowhere": nowhere}, killers) for seed in range(THREADS * 2)]
        with ThreadPoolExecutor(THREADS) as pool:
            for done in [pool.submit(caller.run) for caller in callers]:
                done.result(50)
    assert not [wrong for caller in callers for wrong in caller.wrong]
    outcomes = sum((caller.outcomes for caller in callers), Counter[str]())
    assert outcomes.total() == len(callers) * (CALLS // 2) * 2
    expected = {"OK", "connect", "total", "scope"}
    if not PUBLIC_API_ONLY:  # whether there is a connection is not seen soon enough for so short a header limit
        expected.add("header")
    assert min(outcomes[each] for each in expected) > 0, outcomes
