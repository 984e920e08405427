"""The server's side of a heartbeat stream."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.config import Identity
from grpc_heartbeat.core.frames import Ack, Beat, Frame, Goodbye, GoodbyeReason, Hello, Load, ServingStatus
from grpc_heartbeat.core.heartbeat_server import PATIENCE, SHORTEST_PATIENCE, Condition, Due, ServerSession

ME, PEER = Identity("me", "a", "1"), Identity("peer", "b", "2")
FINE = Condition()


def test_hello_is_answered_with_hello_and_the_peer_is_known() -> None:
    session = ServerSession(ME)
    assert session.receive(Hello(PEER), 0.0, FINE) == [Hello(ME)]
    assert session.receive(Hello(Identity("x", "", "")), 0.0, FINE) == []
    assert session.peer == PEER
    assert session.unexpected_frames == 1


def test_a_beat_is_answered_with_the_condition_of_that_moment() -> None:
    session = ServerSession(ME)
    session.receive(Hello(PEER), 0.0, FINE)
    load = Load(in_flight=3)
    (answer,) = session.receive(Beat(4), 1.0, Condition(ServingStatus.NOT_SERVING, load, None, 7.0))
    assert answer == Ack(4, ServingStatus.NOT_SERVING, load, 7.0)


def test_the_first_frame_is_a_hello_whatever_the_client_sends() -> None:
    assert ServerSession(ME).receive(Beat(1), 0.0, FINE) == [Hello(ME), Ack(1, ServingStatus.SERVING)]
    assert ServerSession(ME).receive(None, 0.0, FINE) == [Hello(ME)]


def test_a_drain_follows_the_next_answer() -> None:
    session = ServerSession(ME)
    session.receive(Hello(PEER), 0.0, FINE)
    answers = session.receive(Beat(1), 0.0, Condition(ServingStatus.NOT_SERVING, None, "update"))
    assert answers == [Ack(1, ServingStatus.NOT_SERVING), Goodbye(GoodbyeReason.DRAINING, "update")]
    assert session.over
    assert session.receive(Beat(2), 0.0, FINE) == []
    assert session.drain("again", 0.0) == []
    assert session.parted


def test_an_idle_stream_can_be_drained_at_once() -> None:
    session = ServerSession(ME)
    assert not session.parted
    assert session.drain("update", 0.0) == [Hello(ME), Goodbye(GoodbyeReason.DRAINING, "update")]
    assert session.parted
    assert session.over


def test_a_goodbye_needs_no_answer() -> None:
    session = ServerSession(ME)
    session.receive(Hello(PEER), 0.0, FINE)
    assert session.receive(Goodbye(), 0.0, FINE) == []
    assert not session.parted
    assert session.over


def test_a_client_that_breaks_its_promise_is_gone_after_patience() -> None:
    session = ServerSession(ME)
    session.receive(Beat(1, next_within=20.0), 100.0, FINE)
    assert session.next_wakeup() == 100.0 + PATIENCE * 20.0
    assert session.wake(159.9) is None
    session.receive(Beat(2, next_within=0.1), 120.0, FINE)
    assert session.next_wakeup() == 120.0 + SHORTEST_PATIENCE
    assert session.wake(130.0) is Due.CUT
    assert session.over


def test_a_client_that_promises_nothing_may_stay_silent() -> None:
    session = ServerSession(ME)
    session.receive(Beat(1), 0.0, FINE)
    assert session.next_wakeup() is None
    assert session.wake(1e9) is None


frames: st.SearchStrategy[Frame | None] = st.one_of(
    st.none(),
    st.just(Hello(PEER)),
    st.builds(Beat, st.integers(0, 2**64 - 1)),
    st.builds(Ack, st.integers(0, 2**64 - 1)),
    st.just(Goodbye()),
)


@given(st.lists(st.tuples(frames, st.booleans()), max_size=30))
def test_any_client_gets_one_ack_per_beat_and_one_hello_first(inputs: list[tuple[Frame | None, bool]]) -> None:
    session = ServerSession(ME)
    answers: list[Frame] = []
    beats: list[int] = []
    for frame, draining in inputs:
        if isinstance(frame, Beat) and not session.over:
            beats.append(frame.sequence)
        answers += session.receive(frame, 0.0, Condition(draining="bye" if draining else None))
    assert [answer.sequence for answer in answers if isinstance(answer, Ack)] == beats
    assert [number for number, answer in enumerate(answers) if isinstance(answer, Hello)] == ([0] if answers else [])
    assert all(answer is answers[-1] for answer in answers if isinstance(answer, Goodbye))
