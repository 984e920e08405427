"""Which level a heartbeat's streams are opened at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import Ack, Goodbye, GoodbyeReason, ServingStatus
from grpc_heartbeat.core.heartbeat_client import HeartbeatClient
from grpc_heartbeat.core.heartbeat_events import LevelChanged, ServingTold, StreamFailed
from grpc_heartbeat.core.levels import RETRY_AFTER, Level, Levels

LADDER: list[Level] = [level for level in Level if level is not Level.STRATEGY]
IDENTITY = Identity("service", "zone", "instance")


def make(falls_back: bool = True) -> Levels:
    return Levels(falls_back, lambda: 0.5)


def told(levels: Levels) -> Level:
    return levels.told


def settle(levels: Levels, best: Level, now: float = 0.0) -> list[Level]:
    """Open streams until the peer, whose best level is ``best``, answers; return the levels that were tried."""
    tried = [levels.opening()]
    while tried[-1] is not best:
        assert levels.unsupported()
        tried.append(levels.opening())
    levels.opened(now)
    return tried


def test_each_level_that_the_peer_does_not_know_leads_to_the_next() -> None:
    for index, best in enumerate(LADDER):
        assert settle(make(), best) == LADDER[: index + 1]


def test_below_the_lowest_there_is_nothing() -> None:
    levels = make()
    settle(levels, Level.TRANSPORT)
    assert not levels.unsupported()
    assert not levels.steps_down


def test_a_strategy_is_no_step_of_the_ladder() -> None:
    levels = make()
    levels.begin_at(Level.STRATEGY)
    for _ in range(2):
        assert levels.opening() is Level.STRATEGY
        assert levels.opened(0.0) is None
        assert levels.retry_at is None
        assert not levels.unsupported()
        assert not levels.steps_down


def test_a_heartbeat_that_begins_at_a_strategy_says_so_from_the_start() -> None:
    client = HeartbeatClient(HeartbeatPolicy(), IDENTITY, 0.0, lambda: 0.5)
    client.begin_at(Level.STRATEGY)
    assert (client.level, client.snapshot.level) == (Level.STRATEGY, Level.STRATEGY)


def test_who_wants_no_fallback_gets_none() -> None:
    levels = make(falls_back=False)
    levels.opening()
    assert not levels.unsupported()
    assert not levels.steps_down
    assert levels.opening() is Level.HEARTBEAT


def test_a_new_connection_is_tried_from_the_top() -> None:
    levels = make()
    settle(levels, Level.CHECK)
    levels.left()
    assert not levels.steps_down
    assert settle(levels, Level.WATCH) == [Level.HEARTBEAT, Level.WATCH]


def test_a_better_level_is_tried_again_after_a_while() -> None:
    levels = make()
    settle(levels, Level.WATCH, 100.0)
    assert levels.retry_at == 100.0 + 1.1 * RETRY_AFTER
    levels.left()
    assert levels.retry_at is None
    settle(levels, Level.HEARTBEAT, 500.0)
    assert levels.retry_at is None


def test_a_level_is_told_when_its_stream_opens_and_once() -> None:
    levels = make()
    assert levels.opening() is Level.HEARTBEAT
    assert levels.opened(0.0) is None
    levels.left()
    levels.opening()
    levels.unsupported()
    assert told(levels) is Level.HEARTBEAT
    levels.opening()
    assert levels.opened(1.0) is Level.HEARTBEAT
    levels.left()
    levels.opening()
    levels.unsupported()
    levels.opening()
    assert levels.opened(2.0) is None
    assert told(levels) is Level.WATCH


@given(st.lists(st.sampled_from(["opened", "unsupported", "left"]), max_size=40))
def test_levels_only_fall_one_at_a_time_and_rise_to_the_top(story: list[str]) -> None:
    levels = make()
    before: Level | None = None
    for what in story:
        level = levels.opening()
        assert level is Level.HEARTBEAT or (before is not None and LADDER.index(level) == LADDER.index(before) + 1)
        assert levels.retry_at is None
        if what == "opened":
            levels.opened(0.0)
            assert (levels.retry_at is None) == (level is Level.HEARTBEAT)
            levels.left()
        elif what == "unsupported":
            assert levels.unsupported() == (level is not Level.TRANSPORT)
        else:
            levels.left()
        before = level if levels.steps_down else None


class Beating:
    """A client with its present session and what it told."""

    def __init__(self, policy: HeartbeatPolicy | None = None) -> None:
        self.client = HeartbeatClient(policy or HeartbeatPolicy(), IDENTITY, 0.0, lambda: 0.5)
        self.told: list[Event] = []

    def open(self, now: float) -> None:
        self.session, opening = self.client.opening(now)
        self.told += self.client.publish([opening])

    def publish(self) -> None:
        self.told += self.client.publish(self.session.take_events() or [])

    def fail(self, now: float) -> None:
        self.session.stream_closed(now, "UNIMPLEMENTED", "unsupported")
        self.publish()

    def ack(self, now: float, sequence: int, status: ServingStatus) -> None:
        self.session.receive(Ack(sequence, status), now)
        self.publish()


def test_a_heartbeat_steps_down_at_once_says_so_and_is_up() -> None:
    it = Beating()
    it.open(0.0)
    it.fail(0.1)
    assert it.client.pause() == 0.0
    it.open(0.1)
    assert it.client.level is Level.WATCH
    assert it.client.snapshot.level is Level.HEARTBEAT
    it.ack(0.2, 0, ServingStatus.SERVING)
    changes = [event for event in it.told if isinstance(event, LevelChanged)]
    assert changes == [LevelChanged(0.2, Level.WATCH, Level.HEARTBEAT)]
    found = it.client.snapshot
    assert (found.level, found.state, found.serving) == (Level.WATCH, "up", ServingStatus.SERVING)


def test_a_status_that_is_told_between_beats_is_in_the_snapshot() -> None:
    it = Beating()
    it.open(0.0)
    it.ack(0.1, 0, ServingStatus.SERVING)
    it.ack(2.0, 0, ServingStatus.NOT_SERVING)
    assert it.client.snapshot.serving is ServingStatus.NOT_SERVING
    assert [event.status for event in it.told if isinstance(event, ServingTold)] == [
        ServingStatus.SERVING,
        ServingStatus.NOT_SERVING,
    ]
    assert it.session.stray_echoes == 0


def test_a_heartbeat_leaves_its_level_for_a_better_one_in_time() -> None:
    it = Beating(HeartbeatPolicy(interval=1000.0))
    it.open(0.0)
    it.fail(0.1)
    it.open(0.1)
    it.ack(0.2, 0, ServingStatus.SERVING)
    retry_at = it.client.next_wakeup(0.2)
    assert retry_at is not None
    assert retry_at == 0.2 + 1.1 * RETRY_AFTER
    assert not it.client.may_rise(retry_at - 1.0)
    assert it.client.may_rise(retry_at)
    it.session.close(retry_at, "a better level is tried")
    it.publish()
    assert not it.client.may_rise(retry_at)
    it.open(retry_at)
    assert it.client.level is Level.HEARTBEAT
    known = [it.client.snapshot.level]  # until a better one answers
    it.ack(retry_at + 0.1, 0, ServingStatus.SERVING)
    assert [*known, it.client.snapshot.level] == [Level.WATCH, Level.HEARTBEAT]


def test_without_fallback_a_heartbeat_rests() -> None:
    it = Beating(HeartbeatPolicy(fallback=False))
    it.open(0.0)
    it.fail(0.1)
    assert it.client.pause() is None
    assert it.client.snapshot.state == "unsupported"


def test_a_goodbye_leads_to_the_top_again() -> None:
    it = Beating()
    it.open(0.0)
    it.fail(0.1)
    it.open(0.1)
    it.ack(0.2, 0, ServingStatus.SERVING)
    it.session.receive(Goodbye(GoodbyeReason.DRAINING), 1.0)
    it.publish()
    assert (it.client.pause() or 0.0) > 0.0
    it.open(2.0)
    assert it.client.level is Level.HEARTBEAT
    assert not any(isinstance(event, StreamFailed) and event.at > 0.1 for event in it.told)
