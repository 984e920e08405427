"""The client's heartbeat session: the state square, the schedule, and random networks in virtual time."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.beat_states import TRANSITIONS, BeatInput, BeatState, TransitionError, advance
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import Ack, Beat, Frame, Goodbye, GoodbyeReason, Hello, Load
from grpc_heartbeat.core.heartbeat import LONGEST_ADVISED_INTERVAL, ClientSession, phase_of
from grpc_heartbeat.core.heartbeat_events import (
    BeatAbandoned,
    BeatAcked,
    BeatMissed,
    BeatSent,
    LateEcho,
    PeerIdentified,
    PeerLeft,
    StreamClosed,
    StreamFailed,
    StreamOpened,
)

POLICY = HeartbeatPolicy(interval=1.0, timeout=0.5, misses=3)
ME, PEER = Identity("me", "a", "1"), Identity("peer", "b", "2")


def opened(now: float = 0.0, policy: HeartbeatPolicy = POLICY, phase: float | None = None) -> ClientSession:
    session = ClientSession(policy, ME, now, phase=phase)
    session.receive(Hello(PEER), now)
    session.take_events()
    return session


def beat(session: ClientSession, now: float) -> Beat:
    sent = session.send_beat(now)
    assert sent is not None
    return sent


@pytest.mark.parametrize("state", BeatState)
@pytest.mark.parametrize("step", BeatInput)
def test_every_pair_is_in_the_table_or_an_error(state: BeatState, step: BeatInput) -> None:
    if (state, step) in TRANSITIONS:
        assert advance(state, step) is TRANSITIONS[state, step]
    else:
        with pytest.raises(TransitionError, match=f"{step.name}.*{state.name}"):
            advance(state, step)


def test_the_table_has_the_states_of_its_theory() -> None:
    assert not any(state is BeatState.FAILED for state, _ in TRANSITIONS), "Failed is final"
    for state in (BeatState.SENDING, BeatState.WAITING):
        assert TRANSITIONS[state, BeatInput.ECHO] is TRANSITIONS[state, BeatInput.TIMEOUT] is BeatState.IDLE


def in_state(state: BeatState) -> ClientSession:
    session = opened()
    if state is not BeatState.IDLE:
        beat(session, 0.0)
    if state is BeatState.WAITING:
        session.written(1, 0.0)
    if state is BeatState.FAILED:
        session.stream_closed(0.0, "gone")
    session.take_events()
    assert session.state is state
    return session


INPUTS = {
    "hello": lambda session: session.receive(Hello(PEER), 0.1),
    "echo": lambda session: session.receive(Ack(1), 0.1),
    "stranger's echo": lambda session: session.receive(Ack(77), 0.1),
    "goodbye": lambda session: session.receive(Goodbye(), 0.1),
    "unknown": lambda session: session.receive(None, 0.1),
    "peer's beat": lambda session: session.receive(Beat(5), 0.1),
    "written": lambda session: session.written(1, 0.1),
    "write failed": lambda session: session.write_failed(0.1, "broken"),
    "early wake": lambda session: session.wake(0.1),
    "late wake": lambda session: session.wake(100.0),
    "closed": lambda session: session.stream_closed(0.1, "gone"),
    "close": lambda session: session.close(0.1),
    "send": lambda session: session.send_beat(1.1),
}


@pytest.mark.parametrize("state", BeatState)
@pytest.mark.parametrize("name", INPUTS)
def test_no_input_breaks_any_state(state: BeatState, name: str) -> None:
    session = in_state(state)
    INPUTS[name](session)
    events = session.take_events()
    assert session.over == (session.state is BeatState.FAILED)
    assert (session.next_wakeup() is None) == session.over
    if state is BeatState.FAILED:
        assert events == []
    if state in (BeatState.SENDING, BeatState.WAITING) and session.state in (BeatState.IDLE, BeatState.FAILED):
        ends = [event for event in events if isinstance(event, BeatAcked | BeatMissed | BeatAbandoned)]
        assert len(ends) == 1


def test_a_stream_opens_with_the_first_frame_and_knows_its_peer_once() -> None:
    session = ClientSession(POLICY, ME, 0.0)
    assert session.hello() == Hello(ME)
    assert session.beat_due(10.0) is None
    session.receive(Hello(PEER), 0.2)
    session.receive(Hello(Identity("other", "", "")), 0.3)
    assert session.take_events() == [StreamOpened(0.2), PeerIdentified(0.2, PEER)]
    assert session.peer == PEER
    assert session.beat_due(0.2) == 1


def test_a_stream_that_nobody_answers_fails_after_as_many_intervals_as_misses() -> None:
    session = ClientSession(POLICY, ME, 5.0)
    assert session.next_wakeup() == 8.0
    session.wake(7.99)
    assert not session.over
    session.wake(8.0)
    (failed,) = session.take_events()
    assert isinstance(failed, StreamFailed)
    assert (failed.cause, failed.opened) == ("silent", False)


def test_an_echo_in_time_is_acked_with_its_round_trip() -> None:
    session = opened()
    sent = session.send_beat(0.0, b"context")
    assert sent == Beat(1, "liveness", b"context", 1.5)
    session.written(1, 0.01)
    ack = Ack(1)
    session.receive(ack, 0.25)
    assert session.take_events() == [BeatSent(0.0, 1), BeatAcked(0.25, 1, 0.25, ack)]
    assert session.next_wakeup() == 1.0


def test_an_echo_may_overtake_the_report_of_the_write() -> None:
    session = opened()
    beat(session, 0.0)
    session.receive(Ack(1), 0.1)
    session.written(1, 0.2)
    assert session.state is BeatState.IDLE


@pytest.mark.parametrize(("written", "why"), [(False, "not written"), (True, "not echoed")])
def test_a_miss_says_which_half_failed(written: bool, why: str) -> None:
    session = opened()
    beat(session, 0.0)
    if written:
        session.written(1, 0.1)
    session.wake(0.5)
    assert session.take_events()[1:] == [BeatMissed(0.5, 1, 1, why)]


def test_consecutive_misses_fail_the_stream_and_an_echo_starts_over() -> None:
    session = opened()
    for slot, answered in enumerate((False, False, True, False, False, False)):
        beat(session, float(slot))
        if answered:
            session.receive(Ack(slot + 1), slot + 0.1)
        else:
            session.wake(slot + 0.5)
        assert session.over == (slot == 5)
    assert isinstance(session.take_events()[-1], StreamFailed)


def test_a_late_echo_is_a_sample_once_and_what_is_not_echoed_begins_after_it() -> None:
    session = opened()
    beat(session, 0.0)
    session.wake(0.5)
    session.take_events()
    session.receive(Ack(1), 0.9)
    session.receive(Ack(1), 0.95)
    assert session.take_events() == [LateEcho(0.9, 1, 0.9, Ack(1), None)]
    assert session.stray_echoes == 1
    for slot in (2, 4, 6):
        assert not session.over
        assert session.next_wakeup() == slot
        beat(session, float(slot))
        session.wake(slot + 0.5)
    assert session.over


def test_a_peer_that_echoes_every_beat_late_keeps_its_stream_and_is_asked_less_often() -> None:
    session = opened()
    beat(session, 0.0)
    session.wake(0.5)
    beat(session, 1.0)
    session.receive(Ack(1), 1.2)
    assert session.interval == 3.0
    for slot in range(1, 60, 3):
        session.wake(slot + 0.5)
        session.receive(Ack(1 + (slot + 2) // 3), slot + 1.2)
        assert not session.over
        assert session.next_wakeup() == slot + 3
        beat(session, slot + 3.0)
    late = [event for event in session.take_events() if isinstance(event, LateEcho)]
    assert [event.waiting_since for event in late] == [1.0] + [None] * 20
    session.receive(Ack(22), 61.1)
    assert session.interval == 1.0
    assert session.next_wakeup() == 62.0


@pytest.mark.parametrize(
    ("waited", "due"), [(None, 1.0), (1.4, 1.0), (2.05, 1.0), (2.5, 0.63), (2.9, 0.23), (3.0, 1.0), (math.inf, 1.0)]
)
def test_work_that_is_about_to_wait_for_too_long_is_asked_about_once_between_two_slots(
    waited: float | None, due: float
) -> None:
    session = opened()
    beat(session, 0.0)
    ack = Ack(1, load=Load(queue_delay=waited))
    session.receive(ack, 0.1)
    found = session.next_wakeup()
    assert found is not None
    assert found == pytest.approx(due)
    beat(session, found)
    session.receive(ack._replace(sequence=2), found + 0.1)
    following = 1.0 if due < 1.0 else 2.0  # one that was not at a slot is followed by the slot
    assert session.next_wakeup() == pytest.approx(following)


def test_an_echo_out_of_order_does_not_bring_back_a_silence_that_is_over() -> None:
    session = opened()
    for slot in (0, 1):
        beat(session, float(slot))
        session.wake(slot + 0.5)
    beat(session, 2.0)
    session.receive(Ack(3), 2.1)
    session.take_events()
    session.receive(Ack(1), 2.2)  # the second is still missing, but the peer was heard after it
    assert session.take_events() == [LateEcho(2.2, 1, 2.2, Ack(1), None)]


def test_an_echo_of_an_old_miss_does_not_hide_later_ones() -> None:
    session = opened()
    for slot in (0, 1):
        beat(session, float(slot))
        session.wake(slot + 0.5)
    session.take_events()
    session.receive(Ack(1), 1.6)
    assert session.take_events() == [LateEcho(1.6, 1, 1.6, Ack(1), 1.0)]
    beat(session, 5.0)
    session.receive(Ack(2), 5.1)
    assert LateEcho(5.1, 2, 4.1, Ack(2), 5.0) in session.take_events()


def test_the_advice_of_a_late_echo_is_heeded_too() -> None:
    session = opened()
    beat(session, 0.0)
    session.wake(0.5)
    session.receive(Ack(1, advised_interval=30.0), 0.6)
    assert session.interval == 30.0


def test_a_late_wakeup_sends_one_beat_and_keeps_the_grid() -> None:
    session = opened()
    beat(session, 0.0)
    session.receive(Ack(1), 0.1)
    beat(session, 4.3)
    session.receive(Ack(2), 4.4)
    assert session.beat_due(4.9) is None
    assert session.next_wakeup() == 5.0


def test_a_phase_is_where_the_slots_are_whenever_the_stream_was_opened() -> None:
    for opening in (10.0, 10.2, 10.7):
        session = opened(now=opening, phase=0.25)
        assert session.next_wakeup() == opening, "the first beat does not wait for its slot"
        session.receive(Ack(beat(session, opening).sequence), opening)
        assert session.next_wakeup() == (10.25 if opening < 10.25 else 11.25)


def test_advice_keeps_the_phase_and_the_own_interval() -> None:
    session = opened(now=10.2, phase=0.25)
    beat(session, 10.2)
    session.receive(Ack(1, advised_interval=4.0), 10.21)
    assert session.next_wakeup() == 13.0  # 0.25 · 4 + 3 · 4
    beat(session, 13.0)
    session.receive(Ack(2), 13.01)
    assert session.next_wakeup() == 14.25


@given(st.lists(st.text(max_size=3), min_size=1, max_size=3))
def test_a_phase_is_a_share_of_an_interval(names: list[str]) -> None:
    assert 0 <= phase_of(*names) < 1
    assert phase_of(*names) == phase_of(*names)


def test_the_phases_of_many_streams_are_spread() -> None:
    phases = [phase_of("service", "instance", "target", str(serial)) for serial in range(1000)]
    tenths = Counter(int(phase * 10) for phase in phases)
    assert len(tenths) == 10
    assert max(tenths.values()) < 150


def test_a_peers_beat_is_answered() -> None:
    assert opened().receive(Beat(9), 0.0) == [Ack(9)]


def test_goodbyes_end_the_session_and_abandon_the_beat() -> None:
    session = opened()
    beat(session, 0.0)
    session.receive(Goodbye(GoodbyeReason.DRAINING, "bye"), 0.1)
    abandoned, left = session.take_events()[1:]
    assert abandoned == BeatAbandoned(0.1, 1, "the peer said goodbye")
    assert left == PeerLeft(0.1, GoodbyeReason.DRAINING, "bye")
    session = opened()
    assert session.close(0.3) == Goodbye(GoodbyeReason.CLOSING)
    assert session.take_events() == [StreamClosed(0.3, "closed")]


@given(st.floats(0, 1e6))
def test_advice_slows_down_within_bounds_and_never_speeds_up(advised: float) -> None:
    session = opened()
    beat(session, 0.0)
    session.receive(Ack(1, advised_interval=advised), 0.1)
    assert session.interval == max(1.0, min(advised, LONGEST_ADVISED_INTERVAL))
    assert session.next_wakeup() == pytest.approx(session.interval)


def test_advice_can_be_taken_back() -> None:
    session = opened()
    beat(session, 0.0)
    session.receive(Ack(1, advised_interval=4.0), 0.1)
    beat(session, 4.0)
    session.receive(Ack(2), 4.1)
    assert session.next_wakeup() == 5.0


@dataclass(order=True)
class Arrival:
    at: float
    order: int
    frame: Frame | None = field(compare=False)


FATES = st.lists(
    st.lists(st.floats(0.001, 4.0), max_size=3),  # the delays of the copies of one ack; none: it is lost
    min_size=1,
    max_size=40,
)


@given(
    fates=FATES,
    lateness=st.lists(st.floats(0, 3.0) | st.just(0.0), min_size=1, max_size=40),
    written=st.lists(st.booleans(), min_size=1, max_size=10),
    origin=st.floats(0, 1e6),
    timeout=st.floats(0.05, 1.0),
    stop=st.integers(0, 60),
    phase=st.none() | st.floats(0, 1, exclude_max=True),
)
def test_any_network_keeps_the_promises(
    fates: list[list[float]],
    lateness: list[float],
    written: list[bool],
    origin: float,
    timeout: float,
    stop: int,
    phase: float | None,
) -> None:
    """One beat in flight; sequences count up; each beat ends once; beats keep to the grid and never burst."""
    session = opened(origin, HeartbeatPolicy(interval=1.0, timeout=timeout, misses=4), phase)
    arrivals: list[Arrival] = []
    events: list[Event] = []
    slots: list[int] = []
    now, turn = origin, 0
    while not session.over and turn < 80:
        turn += 1
        wakeup = session.next_wakeup()
        assert wakeup is not None
        wake_at = max(now, wakeup + lateness[turn % len(lateness)])
        if arrivals and arrivals[0].at <= wake_at:
            arrival = heapq.heappop(arrivals)
            now = max(now, arrival.at)
            session.receive(arrival.frame, now)
        else:
            now = wake_at
            session.wake(now)
            if session.beat_due(now) is not None:
                sent = beat(session, now)
                if phase is None or sent.sequence > 1:  # with a phase the first beat is sent at once, out of its slot
                    slots.append(math.floor((now - (origin if phase is None else phase)) * (1 + 1e-12) + 1e-6))
                if written[turn % len(written)]:
                    session.written(sent.sequence, now)
                for copy, delay in enumerate(fates[turn % len(fates)]):
                    heapq.heappush(arrivals, Arrival(now + delay, 10 * turn + copy, Ack(sent.sequence)))
        events += session.take_events()
        if turn == stop:
            session.stream_closed(now, "cut")
    session.stream_closed(now, "end")
    events += session.take_events()

    sent_order = [event.sequence for event in events if isinstance(event, BeatSent)]
    assert sent_order == list(range(1, len(sent_order) + 1))
    ends = Counter(event.sequence for event in events if isinstance(event, BeatAcked | BeatMissed | BeatAbandoned))
    assert ends == Counter(sent_order)
    flying: set[int] = set()
    for event in events:
        if isinstance(event, BeatSent):
            assert not flying
            flying.add(event.sequence)
        elif isinstance(event, BeatAcked | BeatMissed | BeatAbandoned):
            flying.remove(event.sequence)
    assert slots == sorted(set(slots)), "two beats in one slot"
    assert all(event.rtt <= timeout + max(lateness) + 1e-6 for event in events if isinstance(event, BeatAcked))
    assert sum(isinstance(event, StreamFailed) for event in events) == 1


def test_ten_thousand_beats_do_not_drift() -> None:
    session = opened()
    now = 0.0
    for number in range(10_000):
        wakeup = session.next_wakeup()
        assert wakeup is not None
        now = wakeup + (number % 7) * 0.01  # always some milliseconds late
        sequence = beat(session, now).sequence
        session.receive(Ack(sequence), now + 0.001)
    assert session.next_wakeup() == 10_000.0
