"""Heartbeat, judge and breaker together: each effect once, no alarm of our own making, and always a way back."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from grpc_heartbeat.core.breaker import BreakerClosed, BreakerOpened, BreakerProbing
from grpc_heartbeat.core.frames import Load
from grpc_heartbeat.core.heartbeat_events import StreamFailed
from grpc_heartbeat.core.verdicts import Verdict
from tests.core.beating import BREAKER, INTERVAL, LIMIT, Peer, World, check_story

SILENT = math.inf
BACK = BREAKER.open_max * 1.2 + BREAKER.probe_timeout + 2 * INTERVAL
"""Longest time from a peer's return to the closing of the breaker."""


def opened_by(peer: Peer) -> World:
    world = World()
    world.run(5.0)
    assert (world.verdict, world.closed) == (Verdict.UP, True)
    world.peer = peer
    return world


@pytest.mark.parametrize(
    ("peer", "verdict"),
    [
        (Peer(SILENT), Verdict.DOWN),
        (Peer(SILENT, transport=True), Verdict.STUCK),
        (Peer(load=Load(queue_delay=2.0)), Verdict.STUCK),
    ],
)
def test_a_peer_that_falls_silent_opens_the_breaker_once_until_it_answers(peer: Peer, verdict: Verdict) -> None:
    world = opened_by(peer)
    world.run(LIMIT + INTERVAL + 0.001)
    opened = world.of(BreakerOpened)[0]
    assert isinstance(opened, BreakerOpened)
    assert (opened.again, opened.silent) == (False, True)
    world.run(20.0)
    assert (world.verdict, world.closed) == (verdict, False)
    assert [event for event in world.of(BreakerOpened) if not event.again] == [opened]  # type: ignore[attr-defined]
    world.peer = Peer()
    world.run(BACK)
    assert (world.verdict, world.closed) == (Verdict.UP, True)
    assert len(world.of(BreakerClosed)) == 1
    check_story(world)


def test_a_peer_that_is_gone_opens_it_at_the_first_refused_connection_and_calls_need_not_be_ended() -> None:
    world = opened_by(Peer(end="lost"))
    world.cut()
    assert (world.verdict, world.closed) == (Verdict.REOPEN, True)
    world.run(0.5)
    first = world.of(BreakerOpened)[0]
    assert isinstance(first, BreakerOpened)
    assert not first.silent
    world.run(10.0)
    world.peer = Peer()
    world.run(BREAKER.open_max * 1.2 + 2 * INTERVAL)
    assert world.closed
    check_story(world)


@pytest.mark.parametrize("peer", [Peer(goodbye=True), Peer(end="refused"), Peer(end="unsupported")])
def test_a_peer_that_does_not_want_heartbeats_opens_nothing(peer: Peer) -> None:
    world = opened_by(peer)
    world.cut()
    world.run(60.0)
    assert not world.of(BreakerOpened)
    assert not world.verdict.convicts
    check_story(world)


@pytest.mark.parametrize("peer", [Peer(goodbye=True), Peer(end="refused"), Peer(end="unsupported")])
def test_any_answer_closes_it(peer: Peer) -> None:
    world = opened_by(Peer(SILENT))
    world.run(5.0)
    assert not world.closed
    world.peer = peer
    world.run(BACK)
    assert world.closed
    check_story(world)


def test_an_end_that_cannot_be_told_is_asked_again() -> None:
    world = opened_by(Peer(SILENT))
    world.run(3.0)
    world.peer = Peer(end="unclear")
    opened = len(world.of(BreakerOpened))
    world.run(10.0)
    assert len(world.of(BreakerOpened)) <= opened + 1
    assert not world.closed
    failures = world.of(StreamFailed)
    assert failures[-1].at - failures[-2].at <= BREAKER.open_max * 1.2
    world.peer = Peer()
    world.run(BACK)
    assert world.closed
    check_story(world)


def test_several_echoes_may_be_asked_for() -> None:
    world = World(breaker=replace(BREAKER, successes=3))
    world.run(2.0)
    world.peer = Peer(SILENT)
    world.run(2.0)
    world.peer = Peer()
    world.run(BACK + 2 * INTERVAL)
    (closed,) = world.of(BreakerClosed)
    probing = world.of(BreakerProbing)[-1]
    assert 2 * INTERVAL <= closed.at - probing.at < 4 * INTERVAL
    check_story(world)


@given(st.lists(st.tuples(st.floats(0.001, 0.15), st.floats(0, 1), st.floats(0.06, 5)), max_size=40))
@example([(0.125, 0.0, 1.0)] * 6)  # the streams that are opened between the pauses have no time to be answered
def test_nobody_is_convicted_for_our_own_pauses(steps: list[tuple[float, float, float]]) -> None:
    world = World()
    world.run(2.0)
    for delay, running, pausing in steps:
        world.peer.delay = delay
        world.run(running)
        world.stop(pausing)
    world.run(1.0)
    assert not world.of(BreakerOpened)
    assert world.verdict is Verdict.UP
    check_story(world)


@given(st.integers(0, 2**32), st.floats(0.1, 30), st.floats(0, 10), st.booleans(), st.sampled_from([SILENT, 0.5, 0.7]))
def test_whatever_the_jitter_a_peer_that_returns_is_found_again(
    seed: int, away: float, before: float, guarded: bool, delay: float
) -> None:
    world = World(random=Random(seed).random, guarded=guarded)
    world.run(1.0 + before)
    world.peer = Peer(delay)
    world.run(away)
    world.peer = Peer()
    world.run(BACK + LIMIT + INTERVAL)
    assert world.closed
    assert world.verdict is Verdict.UP
    check_story(world)


class AnyDay(RuleBasedStateMachine):
    """Whatever peer, network and this process do: the story has no gaps, and a closed breaker convicts nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(random=Random(1).random)
        self.world.run(0.5)

    @rule(
        delay=st.sampled_from([0.01, 0.15, 0.3, SILENT]),
        end=st.sampled_from([None, None, "lost", "refused", "unclear"]),
        goodbye=st.booleans(),
        transport=st.booleans(),
        load=st.none() | st.builds(Load, queue_delay=st.floats(0, 2), loop_lag=st.floats(0, 2)),
    )
    def change(self, delay: float, end: Any, goodbye: bool, transport: bool, load: Load | None) -> None:
        self.world.peer = Peer(delay, load, end, goodbye, transport)

    @rule(seconds=st.floats(0, 4))
    def run_on(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(seconds=st.floats(0.06, 3))
    def stop(self, seconds: float) -> None:
        self.world.stop(seconds)

    @rule()
    def cut(self) -> None:
        self.world.cut()

    @rule()
    def report(self) -> None:
        world = self.world
        world.deliver(world.client.written(world.now))

    @rule()
    def recover(self) -> None:
        self.world.peer = Peer()
        self.world.run(BACK + LIMIT + INTERVAL)
        assert self.world.closed
        assert self.world.verdict is Verdict.UP

    @invariant()
    def holds(self) -> None:
        check_story(self.world)


TestAnyDay = AnyDay.TestCase
