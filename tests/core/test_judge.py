"""The judge: right verdicts in time, none against a peer that answers, and a story without gaps."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from grpc_heartbeat.config import HeartbeatPolicy
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import Ack, GoodbyeReason, Load
from grpc_heartbeat.core.heartbeat_events import (
    BeatAcked,
    BeatMissed,
    BeatSent,
    FailureCause,
    HeartbeatClosed,
    LateEcho,
    PeerLeft,
    StreamClosed,
    StreamFailed,
    StreamOpened,
    StreamOpening,
)
from grpc_heartbeat.core.judge import Judge
from grpc_heartbeat.core.lateness import LocalPauses
from grpc_heartbeat.core.verdicts import JudgementSuspended, JudgePolicy, Side, Verdict, VerdictChanged
from tests.core.judging import INTERVAL, LIMIT, Peer, World, check_story

UP, LATE, STUCK, OVERLOADED, DOWN, REOPEN = (
    Verdict.UP,
    Verdict.LATE,
    Verdict.STUCK,
    Verdict.OVERLOADED,
    Verdict.DOWN,
    Verdict.REOPEN,
)
SILENT = math.inf
POLICY = JudgePolicy(limit=LIMIT, accepted_pause=LIMIT / 2)


def test_a_peer_that_answers_is_up_and_operational() -> None:
    world = World()
    assert world.judge.verdict is REOPEN
    assert world.run(10) is UP
    assert world.judge.operational
    assert world.verdicts() == [UP]
    check_story(world)


@pytest.mark.parametrize(("transport", "verdict"), [(False, DOWN), (True, STUCK)])
def test_silence_convicts_in_time_and_an_echo_lifts_it(transport: bool, verdict: Verdict) -> None:
    world = World()
    world.run(10)
    began = world.now
    world.peer = Peer(SILENT, transport=transport)
    assert world.run(INTERVAL + LIMIT) is verdict
    assert world.judge.since <= began + 0.8 + 1e-9
    assert world.verdicts()[:3] == [UP, LATE, verdict] or world.verdicts()[:4] == [UP, LATE, DOWN, verdict]
    assert world.judge.verdict.convicts
    assert not world.judge.operational
    told = len(world.verdicts())
    assert world.run(60) is verdict
    assert len(world.verdicts()) == told
    world.peer = Peer()
    assert world.run(2 * INTERVAL) is UP
    check_story(world)


def test_a_stuck_peer_whose_transport_falls_silent_is_down() -> None:
    world = World()
    world.run(2)
    world.peer = Peer(SILENT, transport=True)
    assert world.run(2) is STUCK
    world.peer.transport = False
    assert world.run(LIMIT + 0.2) is DOWN
    world.peer.transport = True
    assert world.run(0.2) is STUCK
    check_story(world)


def test_regular_echoes_convict_before_the_hard_maximum() -> None:
    """Five seconds between beats: the maximum is 15 s, but the third silent beat is convicted when φ reaches 8."""
    policy = JudgePolicy.of(HeartbeatPolicy(interval=5, misses=3))
    assert (policy.limit, policy.accepted_pause) == (15.0, 10.0)
    judge = Judge(policy, LocalPauses(), 0.0)
    judge.apply(StreamOpened(0.0))
    for number in range(50):
        judge.apply(BeatSent(5.0 * number, number))
        judge.apply(BeatAcked(5.0 * number + 0.01, number, 0.01, Ack(number)))
    judge.transport_answered(249.9)  # before the silence, so it proves nothing
    judge.apply(BeatSent(250.0, 50))
    judge.written(250.0)
    wakeups = []
    while (wakeup := judge.next_wakeup(250.0)) is not None:
        wakeups.append(wakeup - 250.0)
        judge.wake(wakeup)
    assert wakeups == pytest.approx([0.571, 10.571], abs=0.001)
    assert (judge.verdict, judge.why) == (DOWN, "no echo for 11 s")


def test_irregular_echoes_are_given_time_up_to_the_hard_maximum() -> None:
    world = World(JudgePolicy(limit=3.0))
    for number in range(200):
        world.peer.delay = 0.001 if number % 2 else 0.19
        world.run(INTERVAL)
    calm = JudgePolicy(limit=3.0)
    assert calm.min_deviation == 0.1
    assert world.judge._phi.patience() > 0.6
    world.peer = Peer(SILENT, transport=False)
    began = world.now
    assert world.run(3 + INTERVAL) is DOWN
    assert world.judge.since - began > 0.6


@pytest.mark.parametrize("cause", ["late tick", "garbage collection", "loop blocked", "cpu starved"])
def test_own_pauses_convict_nobody_and_are_reported(cause: Any) -> None:
    world = World()
    world.run(10 + INTERVAL / 2)
    world.peer.delay = 0.05
    world.run(INTERVAL / 2 + 0.01)
    assert world.sent_at is not None
    start, world.now = world.now, world.now + 5.0
    world.pauses.add(start, world.now, cause)
    world.judge.wake(world.now)
    world.collect()
    assert world.judge.verdict is UP
    (suspended,) = [event for event in world.events if isinstance(event, JudgementSuspended)]
    assert suspended.cause == cause
    assert suspended.excused == pytest.approx(5.0)
    judgement = world.judge.judgement(world.now)
    assert judgement.suspended == pytest.approx(5.0)
    assert judgement.phi < 1
    for _ in range(3):
        world.judge.wake(world.now)
    world.run(10)
    assert world.verdicts() == [UP]
    world.pause(5.0)
    world.run(10)
    assert world.verdicts() == [UP]
    check_story(world)


def test_a_suspension_is_told_once_for_each_silence() -> None:
    pauses = LocalPauses()
    judge = Judge(POLICY, pauses, 0.0)
    told: list[int] = []
    for event in ACKED:
        judge.apply(event)
    for sent in (10.0, 20.0):
        judge.apply(BeatSent(sent, 1))
        pauses.tick(sent + 0.1, sent + 2.0)
        for _ in range(3):
            judge.wake(sent + 2.0)
        told.append(sum(isinstance(event, JudgementSuspended) for event in judge.take_events()))
        judge.apply(BeatAcked(sent + 2.0, 1, 2.0, Ack(1)))
    assert told == [1, 1]


def test_a_pause_postpones_the_conviction_of_a_silent_peer_and_does_not_prevent_it() -> None:
    world = World()
    world.run(10)
    world.peer = Peer(SILENT, transport=False)
    world.run(INTERVAL + 0.01)
    world.pause(5.0)
    assert not world.judge.verdict.convicts
    assert world.run(LIMIT + INTERVAL + 0.1) is DOWN
    check_story(world)


@given(
    st.lists(
        st.tuples(st.floats(0.001, 0.19), st.floats(0, 1), st.floats(0.06, 5)),
        max_size=40,
    )
)
def test_a_peer_that_answers_is_never_late_whatever_this_process_does(steps: list[tuple[float, float, float]]) -> None:
    world = World()
    world.run(1)
    for delay, running, pausing in steps:
        world.peer.delay = delay
        world.run(running)
        world.pause(pausing)
    world.run(1)
    assert set(world.verdicts()) == {UP}
    check_story(world)


@pytest.mark.parametrize("seed", range(5))
def test_no_false_verdict_in_ten_minutes_of_bad_days(seed: int) -> None:
    """Long-tailed echoes, pauses of 150 to 370 ms of the peer every few seconds, and our own at the same time."""
    random = Random(seed)
    world = World()
    end = world.now + 600
    while world.now < end:
        world.peer.delay = min(0.19, random.lognormvariate(-5, 1.2))
        event = random.random()
        if event < 0.03:
            world.peer.stalled_until = world.now + random.uniform(0.15, 0.37)
        elif event < 0.06:
            world.pause(random.uniform(0.06, 0.4))
        world.run(INTERVAL)
    assert not [verdict for verdict in world.verdicts() if verdict.convicts]
    assert world.judge.verdict in (UP, LATE)
    late = [event for event in world.events if isinstance(event, VerdictChanged) and event.after is LATE]
    assert len(late) < 200
    check_story(world)


@given(
    st.lists(st.floats(0.001, 0.19), min_size=1, max_size=100),
    st.booleans(),
    st.lists(st.tuples(st.floats(0.3, 1), st.floats(0.06, 0.25)), max_size=10),
)
def test_a_silent_peer_is_always_convicted_in_our_running_time(
    delays: list[float], transport: bool, steps: list[tuple[float, float]]
) -> None:
    """A process that runs for more than half of the time judges; it needs ``limit`` of time that counts."""
    world = World()
    for delay in delays:
        world.peer.delay = delay
        world.run(INTERVAL)
    world.peer = Peer(SILENT, transport=transport)
    began, ran = world.now, 0.0
    for running, pausing in [*steps, (LIMIT + 2 * INTERVAL, 0.0)]:
        world.run(running)
        ran += running - min(running, 0.1)
        if ran >= LIMIT + 2 * INTERVAL:
            break
        if pausing:
            world.pause(pausing)
    assert world.run(0.2) is (STUCK if transport else DOWN)
    assert world.judge.since >= began
    check_story(world)


@pytest.mark.parametrize(
    ("load", "verdict"),
    [
        (None, UP),
        (Load(), UP),
        (Load(queue_delay=0.05, loop_lag=0.05), UP),
        (Load(queue_delay=0.2), OVERLOADED),
        (Load(loop_lag=0.2), OVERLOADED),
        (Load(loop_lag=10.0), OVERLOADED),
        (Load(queue_delay=LIMIT), STUCK),
    ],
)
def test_what_an_ack_says_about_load(load: Load | None, verdict: Verdict) -> None:
    world = World()
    world.run(2)
    world.peer.load = load
    assert world.run(3 * INTERVAL) is verdict
    world.peer.load = None
    assert world.run(2 * INTERVAL) is UP
    check_story(world)


def test_one_slow_ack_is_no_overload_and_its_end_needs_half_the_load() -> None:
    world = World()
    world.run(2)
    for queue_delay, verdict in (
        (0.2, UP),
        (0.0, UP),
        (0.2, UP),
        (0.2, OVERLOADED),
        (0.06, OVERLOADED),
        (0.04, UP),
        (0.06, UP),
    ):
        world.peer.load = Load(queue_delay=queue_delay)
        assert world.run(INTERVAL) is verdict, queue_delay
    assert world.verdicts() == [UP, OVERLOADED, UP]


def test_a_stuck_queue_that_falls_silent_is_judged_by_its_silence() -> None:
    world = World()
    world.peer.load = Load(queue_delay=1.0)
    assert world.run(2) is STUCK
    assert "waited for a worker for 1 s" in world.judge.why
    world.peer = Peer(SILENT, transport=False)
    assert world.run(2 * LIMIT) is DOWN
    check_story(world)


def failed(cause: FailureCause, *, opened: bool = True) -> StreamFailed:
    return StreamFailed(3.0, "why", cause, opened)


ACKED = [StreamOpening(0.0), StreamOpened(0.0), BeatSent(1.0, 1), BeatAcked(1.1, 1, 0.1, Ack(1))]
MISSED = [BeatSent(1.2, 2), BeatMissed(1.4, 2, 1, "not echoed")]
LEFT = PeerLeft(3.0, GoodbyeReason.DRAINING, "update")


@pytest.mark.parametrize(
    ("events", "verdict"),
    [
        ([], REOPEN),
        (ACKED[:2], REOPEN),
        (ACKED, UP),
        ([*ACKED, *MISSED], LATE),
        ([*ACKED, failed("lost")], REOPEN),
        ([*ACKED, failed("refused")], REOPEN),
        ([*ACKED, failed("unclear")], REOPEN),
        ([*ACKED, LEFT], REOPEN),
        ([*ACKED, *MISSED, LEFT], REOPEN),
        ([*ACKED, *MISSED, failed("lost")], REOPEN),
        ([*ACKED, *MISSED, failed("unclear")], LATE),
        ([*ACKED, *MISSED, failed("refused")], REOPEN),
        ([*ACKED, failed("lost", opened=False)], DOWN),
        ([failed("lost", opened=False)], DOWN),
        ([failed("lost", opened=False), failed("refused", opened=False)], REOPEN),
        ([failed("lost", opened=False), failed("unclear", opened=False)], DOWN),
        ([failed("lost", opened=False), StreamOpening(3.1), StreamOpened(3.1)], DOWN),
        ([failed("lost", opened=False), *ACKED], UP),
        ([failed("lost", opened=False), LEFT], REOPEN),
        ([failed("silent", opened=False)], DOWN),
        ([StreamOpened(2.9), failed("silent")], STUCK),
        ([StreamOpened(2.9), BeatSent(2.95, 1), failed("silent")], DOWN),
        ([*ACKED[:2], BeatSent(0.1, 1), BeatMissed(0.3, 1, 1, "not echoed")], REOPEN),
        ([failed("unsupported", opened=False)], UP),
        ([*ACKED, HeartbeatClosed(2.0, "closed"), failed("silent")], UP),
    ],
)
def test_what_the_end_of_a_stream_means(events: list[Event], verdict: Verdict) -> None:
    judge = Judge(POLICY, LocalPauses(), 0.0)
    for event in events:
        judge.apply(event)
    assert judge.verdict is verdict


@pytest.mark.parametrize("end", [failed("lost"), failed("refused"), LEFT])
def test_a_stream_that_is_not_reopened_in_time_convicts(end: Event) -> None:
    judge = Judge(POLICY, LocalPauses(), 0.0)
    for event in (*ACKED, end):
        judge.apply(event)
    assert judge.next_wakeup(3.0) is None, "nobody waits for an answer before a stream is opened"
    judge.apply(StreamOpening(13.2))
    judge.apply(StreamFailed(13.3, "why", "unclear", False))
    judge.apply(StreamOpening(13.5))
    assert judge.next_wakeup(13.5) == 13.2 + LIMIT
    judge.wake(13.2 + LIMIT)
    assert (judge.verdict, judge.silent, judge.next_wakeup(19.0)) == (DOWN, True, None)
    assert judge.why == "no answer for 0.6 s"


def test_the_loss_of_a_silent_stream_does_not_start_the_wait_anew() -> None:
    judge = Judge(POLICY, LocalPauses(), 0.0)
    for event in (*ACKED, *MISSED, StreamFailed(1.5, "reset", "lost", True)):
        judge.apply(event)
    assert (judge.verdict, judge.next_wakeup(1.5)) == (REOPEN, 1.2 + LIMIT)
    judge.apply(StreamOpening(1.6))
    judge.wake(1.2 + LIMIT)
    assert judge.verdict is DOWN


@pytest.mark.parametrize("answer", [failed("refused", opened=False), LEFT])
def test_a_peer_that_answers_each_stream_with_a_refusal_or_a_goodbye_is_no_alarm(answer: Event) -> None:
    judge = Judge(POLICY, LocalPauses(), 0.0)
    for number in range(20):
        for event in (StreamOpening(float(number)), replace(answer, at=number + LIMIT / 2)):
            judge.apply(event)
        judge.wake(number + 0.9)
        assert judge.verdict is REOPEN


@pytest.mark.parametrize(
    ("events", "silent"),
    [
        ([failed("lost", opened=False)], False),
        ([*ACKED, *MISSED, failed("silent")], True),
        ([failed("silent", opened=False)], True),
        ([*ACKED, BeatSent(2.0, 3), BeatMissed(3.0, 3, 1, "not echoed")], True),
        ([BeatAcked(1.0, 1, 0.1, Ack(1, load=Load(queue_delay=9.0)))], True),
    ],
)
def test_a_conviction_tells_whether_calls_would_hang(events: list[Event], silent: bool) -> None:
    judge = Judge(POLICY, LocalPauses(), 0.0)
    for event in events:
        judge.apply(event)
    assert judge.verdict.convicts
    assert judge.silent is silent


def test_a_driver_that_gives_up_convicts_and_a_transport_that_answers_makes_it_stuck() -> None:
    judge = Judge(POLICY, LocalPauses(), 0.0)
    judge.apply(StreamOpening(1.0))
    judge.gave_up(1.3, "no answer within 0.3 s")
    assert (judge.verdict, judge.why) == (DOWN, "no answer within 0.3 s")
    judge.transport_answered(1.4)
    assert judge.verdict is STUCK
    judge.apply(StreamClosed(1.5, "left"))
    judge.apply(StreamOpening(9.0))
    judge.gave_up(10.0, "no answer within 1 s")
    assert judge.verdict is DOWN


def test_a_closed_or_unsupported_heartbeat_awaits_nothing() -> None:
    for last in (HeartbeatClosed(2.0, "closed"), failed("unsupported")):
        judge = Judge(POLICY, LocalPauses(), 0.0)
        for event in (*ACKED, BeatSent(1.5, 2), last):
            judge.apply(event)
        assert judge.next_wakeup(2.0) is None
        judge.wake(1000.0)
        assert judge.verdict is UP


def test_the_write_side_by_itself() -> None:
    judge = Judge(POLICY, LocalPauses(), 0.0)
    for event in ACKED:
        judge.apply(event)
    for number in range(20):
        judge.apply(BeatAcked(1.2, number, 0.001, Ack(number)))
    judge.apply(BeatSent(2.0, 2))
    stale = judge.next_wakeup(2.0)
    assert stale is not None
    judge.wake(stale)
    now = judge.judgement(stale)
    assert (now.write, now.echo, now.verdict) == (Side.STALE, Side.STALE, LATE)
    judge.written(stale)
    assert judge.judgement(stale).write is Side.ALIVE
    assert not judge.operational
    judge.apply(BeatMissed(stale, 2, 1, "not written"))
    assert judge.judgement(stale).write is Side.STALE
    judge.write_failed(stale, "reset")
    judge.written(stale)
    judge.apply(failed("lost"))
    now = judge.judgement(stale)
    assert (now.write, now.echo, now.verdict) == (Side.WRITE_FAILED, Side.WRITE_FAILED, REOPEN)
    judge.apply(StreamOpened(4.0))
    assert judge.operational


def test_a_stream_that_fails_by_our_own_pause_is_reopened_without_alarm() -> None:
    pauses = LocalPauses()
    judge = Judge(POLICY, pauses, 0.0)
    for event in (*ACKED, BeatSent(2.0, 2)):
        judge.apply(event)
    pauses.tick(2.1, 3.0)
    judge.apply(failed("silent"))
    assert (judge.verdict, judge.why) == (REOPEN, "why, while this process did not run")
    judge.take_events()
    judge.apply(StreamOpening(3.1))
    judge.wake(4.0)
    assert judge.verdict is DOWN


def test_silence_goes_on_over_the_stream_that_failed_by_our_own_pause() -> None:
    pauses = LocalPauses()
    judge = Judge(POLICY, pauses, 0.0)
    for event in (*ACKED, BeatSent(2.0, 2)):
        judge.apply(event)
    pauses.tick(2.1, 3.0)
    judge.apply(failed("silent"))
    judge.apply(StreamOpening(3.1))
    due = 2.0 + POLICY.limit + pauses.excused(2.0, 5.0)
    assert judge.next_wakeup(3.1) == pytest.approx(due)
    judge.wake(due)
    assert judge.verdict is DOWN


def test_a_late_echo_proves_that_the_peer_is_there_and_lifts_nothing() -> None:
    judge = Judge(POLICY, LocalPauses(), 0.0)
    for event in (*ACKED, *MISSED):
        judge.apply(event)
    judge.wake(2.0)
    assert judge.verdict is DOWN
    judge.apply(LateEcho(2.1, 2, 0.9, Ack(2), None))
    assert judge.verdict is STUCK


def test_a_slow_peer_that_is_seldom_asked_is_not_silent_between_its_late_echo_and_the_next_beat() -> None:
    judge = Judge(POLICY, LocalPauses(), 0.0)
    for event in (*ACKED, *MISSED, LateEcho(1.7, 2, 0.5, Ack(2), None)):
        judge.apply(event)
    assert judge.next_wakeup(1.7) is None
    judge.wake(60.0)
    assert judge.verdict is LATE
    judge.apply(BeatSent(61.2, 3))
    judge.wake(61.2 + LIMIT)
    assert judge.verdict is DOWN


def test_late_echoes_that_tell_of_an_overload_explain_themselves() -> None:
    judge = Judge(POLICY, LocalPauses(), 0.0)
    for event in (*ACKED, *MISSED):
        judge.apply(event)
    slow = Load(loop_lag=0.5)
    for number, expected in ((2, LATE), (3, OVERLOADED), (4, OVERLOADED)):
        judge.apply(LateEcho(number - 0.5, number, 0.3, Ack(number, load=slow), None))
        assert judge.verdict is expected
        judge.apply(BeatSent(number - 0.4, number + 1))
        judge.apply(BeatMissed(number - 0.2, number + 1, number, "not echoed"))
        assert judge.verdict is expected, "a miss is no news of a peer that is overloaded"
    judge.apply(LateEcho(4.5, 5, 0.9, Ack(5, load=Load(loop_lag=0.0)), None))
    assert judge.verdict is OVERLOADED, "only an echo in time says that all is well"
    judge.apply(BeatSent(4.6, 6))
    judge.apply(BeatAcked(4.7, 6, 0.1, Ack(6)))
    assert judge.verdict is UP


def test_a_late_echo_tells_of_stuck_workers_too() -> None:
    judge = Judge(POLICY, LocalPauses(), 0.0)
    for event in (*ACKED, *MISSED):
        judge.apply(event)
    judge.apply(LateEcho(1.5, 2, 0.3, Ack(2, load=Load(queue_delay=POLICY.limit)), None))
    assert (judge.verdict, judge.silent) == (STUCK, True)
    judge.apply(LateEcho(1.6, 2, 0.4, Ack(2), None))
    assert judge.verdict is STUCK


@pytest.mark.parametrize(("delay", "convicted"), [(0.9, False), (1.2, True)])
def test_a_peer_that_echoes_each_beat_late_is_convicted_only_if_it_is_too_late(delay: float, convicted: bool) -> None:
    """In shares of the limit: what counts is for how long nothing was heard of a beat, not how many beats that is."""
    world = World()
    world.run(20 * LIMIT)
    world.peer.delay = delay * LIMIT
    world.run(40 * LIMIT)
    assert any(verdict.convicts for verdict in world.verdicts()) is convicted
    assert LATE in world.verdicts()
    check_story(world)


def test_a_single_miss_convicts_no_earlier_than_it_is_found() -> None:
    assert JudgePolicy.of(HeartbeatPolicy(interval=5, misses=1)).accepted_pause == 1.0
    policy = JudgePolicy.of(HeartbeatPolicy(silence=7, tolerance=0, suspicion=12, deviation=0.2, overloaded=1))
    assert policy == JudgePolicy(7.0, 0.0, 12.0, 0.2, 1.0, 2)


def test_proof_of_a_transport_does_not_help_a_peer_that_refused_the_connection() -> None:
    judge = Judge(POLICY, LocalPauses(), 0.0)
    judge.apply(failed("lost", opened=False))
    judge.transport_answered(3.0)
    assert judge.verdict is DOWN


def test_a_side_that_failed_does_not_become_merely_stale_by_silence() -> None:
    judge = Judge(POLICY, LocalPauses(), 0.0)
    for event in (*ACKED, BeatSent(2.0, 2)):
        judge.apply(event)
    judge.write_failed(2.0, "reset")
    judge.wake(5.0)
    now = judge.judgement(5.0)
    assert (now.verdict, now.write, now.echo) == (DOWN, Side.WRITE_FAILED, Side.WRITE_FAILED)


class AnyOrder(RuleBasedStateMachine):
    """Whatever is reported in whatever order: the story has no gaps, and the judge asks for no wake-up that it ignores."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.sequence = 1000

    @property
    def now(self) -> float:
        return self.world.now

    def apply(self, event: Event) -> None:
        self.world.apply(event)

    @rule(seconds=st.floats(0, 2))
    def wake(self, seconds: float) -> None:
        self.world.now += seconds
        self.world.judge.wake(self.now)

    @rule(seconds=st.floats(0.05, 2))
    def pause(self, seconds: float) -> None:
        self.world.now += seconds
        self.world.pauses.tick(self.now - seconds, self.now)

    @rule()
    def send(self) -> None:
        self.sequence += 1
        self.apply(BeatSent(self.now, self.sequence))

    @rule(load=st.none() | st.builds(Load, queue_delay=st.floats(0, 2), loop_lag=st.floats(0, 2)))
    def ack(self, load: Load | None) -> None:
        self.apply(BeatAcked(self.now, self.sequence, 0.01, Ack(self.sequence, load=load)))
        assert self.world.judge.verdict in (UP, OVERLOADED, STUCK)

    @rule(why=st.sampled_from(["not written", "not echoed"]))
    def miss(self, why: str) -> None:
        self.apply(BeatMissed(self.now, self.sequence, 1, why))

    @rule()
    def open(self) -> None:
        self.apply(StreamOpening(self.now))

    @rule()
    def opened(self) -> None:
        self.apply(StreamOpened(self.now))

    @rule(cause=st.sampled_from(["silent", "lost", "refused", "unsupported", "unclear"]), opened=st.booleans())
    def fail(self, cause: Any, opened: bool) -> None:
        self.apply(StreamFailed(self.now, "why", cause, opened))

    @rule()
    def leave(self) -> None:
        self.apply(PeerLeft(self.now, GoodbyeReason.CLOSING, ""))
        assert self.world.judge.verdict is REOPEN

    @rule()
    def written(self) -> None:
        self.world.judge.written(self.now)

    @rule()
    def write_failed(self) -> None:
        self.world.judge.write_failed(self.now, "reset")

    @rule()
    def transport(self) -> None:
        self.world.judge.transport_answered(self.now)

    @invariant()
    def holds(self) -> None:
        self.world.collect()
        check_story(self.world)
        wakeup = self.world.judge.next_wakeup(self.now)
        if wakeup is not None and wakeup <= self.now:
            self.world.judge.wake(self.now)
            self.world.collect()
            wakeup = self.world.judge.next_wakeup(self.now)
            assert wakeup is None or wakeup > self.now


TestAnyOrder = AnyOrder.TestCase


def test_every_change_is_told_once() -> None:
    world = World()
    world.run(1)
    world.peer = Peer(SILENT, transport=False)
    world.run(5)
    before = len(world.events)
    for _ in range(3):
        world.judge.wake(world.now)
        world.judge.apply(StreamFailed(world.now, "again", "silent", True))
        world.collect()
    changes = [event for event in world.events[before:] if isinstance(event, VerdictChanged)]
    assert changes == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"limit": 0}, ValueError, "JudgePolicy.limit must be more than 0"),
        ({"limit": "1"}, TypeError, "JudgePolicy.limit must be a number of seconds"),
        ({"accepted_pause": -1}, ValueError, "JudgePolicy.accepted_pause must be at least 0"),
        ({"min_deviation": 0}, ValueError, "JudgePolicy.min_deviation"),
        ({"overloaded": 0}, ValueError, "JudgePolicy.overloaded"),
        ({"threshold": 0}, ValueError, "JudgePolicy.threshold must be more than 0 and at most 300; got 0"),
        ({"persist": 0}, ValueError, "JudgePolicy.persist must be at least 1; got 0"),
    ],
)
def test_bad_values_are_named(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        JudgePolicy(**{"limit": 1.0, **options})
