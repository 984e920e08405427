"""Thousands of calls of the asyncio stack against short limits, random kills and an unreliable network.

Nothing hangs, nothing is left behind, and no end is blamed on a layer that cannot have been late.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from collections import Counter
from contextlib import ExitStack
from time import monotonic
from typing import Any

import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.scope import Reason, Scope
from tests import leaks
from tests.conformance.outcome import Outcome
from tests.conformance.paths_aio import PATHS, Path, make
from tests.soak.racing import LONGEST, POLICY, Attempt, Plan, Server, judge, label
from tests.soak.relay import UnreliableRelay
from tests.soak.scale import scaled

CALLS = scaled(10_000, 1_500)
TASKS = 8
SEED = 20_261_123


class Race:
    """All that the racing tasks share."""

    def __init__(self, server: Server, channels: dict[bool, grpc.aio.Channel]) -> None:
        self.server = server
        self.channels = channels
        self.ends: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.tokens = map(str, range(CALLS))
        self.scopes: dict[Scope, float] = {}

    async def run(self, seed: int) -> None:
        dice = random.Random(seed)
        for token in self.tokens:
            try:
                end = await self._one(dice, token, *dice.choice(list(PATHS.items())))
            except Exception as error:
                end = "raised"
                self.wrong.append(repr(error))
            self.ends[end] += 1

    async def _one(self, dice: random.Random, token: str, name: str, path: Path) -> str:
        truth = self.server.watch(token)
        plan, direct = Plan.random(dice), dice.random() < 0.8
        scope = None
        if dice.random() < 0.5:
            deadline = monotonic() + dice.choice((0.005, 0.04, 5)) if dice.random() < 0.5 else None
            scope = Scope(deadline, "inherited:/front.End/Buy", "/front.End/Buy")
        kill = dice.choice(("none", "none", "none", "scope", "cancel", "drop"))
        timeout = dice.choice((0.02, LONGEST, LONGEST))
        attempt = Attempt(path.kind, plan, direct, monotonic(), timeout, scope, kill == "cancel")
        kwargs: dict[str, Any] = {"timeout": timeout, "metadata": (("token", token), ("plan", str(plan)))}
        # A server that does not read gets enough to fill its window.
        requests = [b"x"] * dice.randint(1, 3) if plan.reads else itertools.repeat(bytes(1 << 19), 10)
        current_scope.set(scope)
        delay = dice.random() * 0.02
        if kill == "drop":
            await self._drop(path, self.channels[direct], delay, kwargs)
            return "dropped"
        call = make(path, self.channels[direct], f"/any.Race/{path.kind}", requests, **kwargs)
        if scope is not None and kill == "scope":
            self.scopes[scope] = monotonic() + delay
        outcome = await (self._cancelled(call, delay) if kill == "cancel" else call)
        if wrong := judge(attempt, outcome, truth):
            self.wrong.append(f"{name}: {wrong}; {attempt}")
        if scope is not None and not await _emptied(scope):
            self.wrong.append(f"{name}: the scope still holds {scope.members}")
        self.server.forget(token)
        return label(outcome)

    async def _cancelled(self, call: Any, delay: float) -> Outcome:
        """Cancel the awaiting task, which cancels the call."""
        task = asyncio.create_task(call)
        asyncio.get_running_loop().call_later(delay, task.cancel)
        outcome: Outcome = await task  # `make` tells of the cancellation by returning
        return outcome

    async def _drop(self, path: Path, channel: grpc.aio.Channel, delay: float, kwargs: dict[str, Any]) -> None:
        method = path.multicallable(channel, f"/any.Race/{path.kind}")
        call = method(**kwargs) if path.streams_requests else method(b"x", **kwargs)
        await asyncio.sleep(delay)  # sleep: so long it lives before it is dropped
        del call

    def kill_scopes(self, end: threading.Event) -> None:
        """Cancel the scopes whose time has come, from a thread."""
        while not end.wait(0.001):
            for scope, when in list(self.scopes.items()):
                if monotonic() >= when:
                    del self.scopes[scope]
                    self.wrong += map(repr, scope.cancel(Reason.CLIENT_CANCELLED))


async def _emptied(scope: Scope) -> bool:
    """Return whether the scope lets go of its calls, which learn of their ends from callbacks."""
    for _ in range(200):
        if not scope.members:
            break
        await asyncio.sleep(0.005)  # sleep: nothing tells of it
    return not scope.members


async def race_all(race: Race) -> None:
    end = threading.Event()
    killer = threading.Thread(target=race.kill_scopes, args=(end,))
    killer.start()
    try:
        tasks = [asyncio.create_task(race.run(SEED + number)) for number in range(TASKS)]
        _, hang = await asyncio.wait(tasks, timeout=scaled(240, 60))
        assert not hang, "\n".join(map(leaks.describe_task, asyncio.all_tasks()))
    finally:
        end.set()
        killer.join()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_random_calls_end_for_the_right_reason() -> None:
    with ExitStack() as stack:
        server = Server()
        stack.callback(server.close)
        relay = stack.enter_context(UnreliableRelay(server.target, SEED))
        channels: dict[bool, grpc.aio.Channel] = {
            direct: grpc_heartbeat.aio.insecure_channel(server.target if direct else relay.target, timeouts=POLICY)
            for direct in (True, False)
        }
        await channels[True].channel_ready()
        race = Race(server, channels)
        started = monotonic()
        await race_all(race)
        for channel in channels.values():
            await channel.close()
        print(f"\n{CALLS} calls in {monotonic() - started:.1f} s: {dict(race.ends.most_common())}")
        assert race.wrong == []
        assert race.ends.total() == CALLS
        assert {"OK", "dropped", "scope", "total", "header", "idle"} <= set(race.ends)
