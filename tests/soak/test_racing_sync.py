"""Thousands of calls of the sync stack against short limits, random kills and an unreliable network.

Nothing hangs, nothing is left behind, and no end is blamed on a layer that cannot have been late.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import monotonic
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.scope import Reason, Scope
from tests.conformance.outcome import Outcome
from tests.conformance.paths_sync import PATHS, SINGLE_THREADED, Path, make
from tests.soak.racing import LONGEST, POLICY, Attempt, Plan, Server, judge, label
from tests.soak.relay import UnreliableRelay
from tests.soak.scale import scaled

CALLS = scaled(10_000, 1_500)
THREADS = 16
SEED = 20_261_123

_tokens = (str(number) for number in itertools.count())


class Race:
    """All that the racing threads share."""

    def __init__(self, server: Server, channels: Mapping[tuple[bool, bool], grpc.Channel], killers: Any) -> None:
        self.server = server
        self.channels = channels
        self.killers = killers
        self.ends: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.left = CALLS
        self.lock = threading.Lock()

    def run(self, seed: int) -> None:
        dice = random.Random(seed)
        while self._next():
            try:
                end = self._one(dice, *dice.choice(list(PATHS.items())))
            except Exception as error:
                end = "raised"
                self.wrong.append(repr(error))
            with self.lock:
                self.ends[end] += 1

    def _next(self) -> bool:
        with self.lock:
            self.left -= 1
            return self.left >= 0

    def _one(self, dice: random.Random, name: str, path: Path) -> str:
        with self.lock:
            token = next(_tokens)
        truth = self.server.watch(token)
        plan, direct = Plan.random(dice), dice.random() < 0.8
        scope = None
        if dice.random() < 0.5:
            deadline = monotonic() + dice.choice((0.005, 0.04, 5)) if dice.random() < 0.5 else None
            scope = Scope(deadline, "inherited:/front.End/Buy", "/front.End/Buy")
        kill = dice.choice(("none", "none", "none", "scope", "cancel", "drop"))
        if path.form in ("call", "with_call") and kill in ("cancel", "drop"):
            kill = "scope"
        timeout = dice.choice((0.02, LONGEST, LONGEST))
        attempt = Attempt(path.kind, plan, direct, monotonic(), timeout, scope, kill == "cancel")
        channel = self.channels[direct, bool(path.options)]
        kwargs = {"timeout": timeout, "metadata": (("token", token), ("plan", str(plan)))}
        requests = random_requests(dice, plan)
        reset = current_scope.set(scope)
        try:
            if kill == "drop":
                self._drop(path, channel, requests, dice.random() * 0.01, kwargs)
                return "dropped"
            delay = dice.random() * 0.02
            killer = self.killers.submit(self._kill_scope, scope, delay) if scope and kill == "scope" else None
            if kill == "cancel":
                outcome = self._cancelled(path, channel, requests, delay, kwargs)
            else:
                outcome = make(path, channel, f"/any.Race/{path.kind}", requests, **kwargs)
            if killer is not None:
                killer.result()
        finally:
            current_scope.reset(reset)
        if wrong := judge(attempt, outcome, truth):
            self.wrong.append(f"{name}: {wrong}; {attempt}")
        if scope is not None and scope.members:
            self.wrong.append(f"{name}: the scope still holds {scope.members}")
        self.server.forget(token)
        return label(outcome)

    def _kill_scope(self, scope: Scope, delay: float) -> None:
        threading.Event().wait(delay)
        self.wrong += map(repr, scope.cancel(Reason.CLIENT_CANCELLED))

    def _begin(self, path: Path, channel: grpc.Channel, requests: Iterator[bytes], kwargs: Any) -> Any:
        method = path.multicallable(channel, f"/any.Race/{path.kind}")
        sent = requests if path.streams_requests else next(requests)
        return (method.future if path.form == "future" else method)(sent, **kwargs)

    def _drop(self, path: Path, channel: grpc.Channel, requests: Any, delay: float, kwargs: Any) -> None:
        call = self._begin(path, channel, requests, kwargs)
        threading.Event().wait(delay)
        del call

    def _cancelled(self, path: Path, channel: grpc.Channel, requests: Any, delay: float, kwargs: Any) -> Outcome:
        outcome = Outcome()
        call = outcome.call = self._begin(path, channel, requests, kwargs)
        killer = self.killers.submit(lambda: threading.Event().wait(delay) or call.cancel())
        try:
            outcome.responses = [call.result(60)] if path.form == "future" else list(call)
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            outcome.error = error
        killer.result()
        outcome.status, outcome.details = call.code(), call.details()
        return outcome


def random_requests(dice: random.Random, plan: Plan) -> Iterator[bytes]:
    """Return requests; a server that does not read gets enough to fill its window."""
    return itertools.repeat(bytes(1 << 19), 10) if not plan.reads else iter([b"x"] * dice.randint(1, 3))


@pytest.fixture
def race() -> Iterator[Race]:
    with ExitStack() as stack:
        server = Server()
        stack.callback(server.close)
        relay = stack.enter_context(UnreliableRelay(server.target, SEED))
        channels = {
            (direct, single): stack.enter_context(
                grpc_heartbeat.insecure_channel(
                    server.target if direct else relay.target,
                    options=SINGLE_THREADED if single else [],
                    timeouts=POLICY,
                )
            )
            for direct in (True, False)
            for single in (True, False)
        }
        for (direct, _), channel in channels.items():
            if direct:
                grpc.channel_ready_future(channel).result(10)
        killers = stack.enter_context(ThreadPoolExecutor(THREADS))
        yield Race(server, channels, killers)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_random_calls_end_for_the_right_reason(race: Race) -> None:
    started = monotonic()
    threads = [threading.Thread(target=race.run, args=(SEED + number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert not any(thread.is_alive() for thread in threads), "calls hang"
    print(f"\n{CALLS} calls in {monotonic() - started:.1f} s: {dict(race.ends.most_common())}")
    assert race.wrong == []
    assert race.ends.total() == CALLS
    assert {"OK", "dropped", "scope", "total", "header", "idle"} <= set(race.ends)
