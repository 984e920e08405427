"""Status, back-off, round trips and the life of a heartbeat over several streams."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.backoff import JITTER, Backoff
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import Ack, GoodbyeReason, Load, ServingStatus
from grpc_heartbeat.core.heartbeat_client import HeartbeatClient
from grpc_heartbeat.core.heartbeat_events import (
    BeatAcked,
    BeatMissed,
    BeatSent,
    FailureCause,
    HeartbeatClosed,
    LateEcho,
    PeerIdentified,
    PeerLeft,
    StreamFailed,
    StreamOpened,
    StreamOpening,
)
from grpc_heartbeat.core.rtt import RttWindow
from grpc_heartbeat.core.verdicts import Side, Verdict

PEER = Identity("peer", "b", "2")
OPEN = StreamOpened(1.0)
ACKED = BeatAcked(2.0, 1, 0.1, Ack(1, ServingStatus.SERVING, Load(in_flight=2)))
MISSED = BeatMissed(3.0, 2, 1, "not echoed")


def failed(cause: FailureCause, *, opened: bool = True) -> StreamFailed:
    return StreamFailed(4.0, "why", cause, opened)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], "connecting"),
        ([OPEN], "connecting"),
        ([OPEN, ACKED], "up"),
        ([OPEN, ACKED, MISSED], "late"),
        ([OPEN, ACKED, MISSED, ACKED], "up"),
        ([OPEN, ACKED, failed("lost")], "connecting"),
        ([OPEN, ACKED, failed("lost"), failed("lost", opened=False)], "down"),
        ([OPEN, ACKED, MISSED, failed("lost")], "connecting"),
        ([OPEN, ACKED, MISSED, failed("silent")], "down"),
        ([failed("unclear", opened=False)], "connecting"),
        ([OPEN, ACKED, failed("unclear")], "connecting"),
        ([OPEN, ACKED, MISSED, failed("unclear")], "late"),
        ([failed("lost", opened=False), failed("unclear", opened=False)], "down"),
        ([failed("lost", opened=False)], "down"),
        ([failed("lost", opened=False), OPEN], "down"),
        ([failed("lost", opened=False), OPEN, MISSED], "down"),
        ([failed("lost", opened=False), OPEN, ACKED], "up"),
        ([failed("unsupported", opened=False)], "unsupported"),
        ([failed("refused", opened=False)], "unsupported"),
        ([OPEN, ACKED, PeerLeft(3.0, GoodbyeReason.DRAINING, "")], "draining"),
        ([OPEN, ACKED, PeerLeft(3.0, GoodbyeReason.CLOSING, "")], "connecting"),
        ([PeerLeft(3.0, GoodbyeReason.DRAINING, ""), failed("lost", opened=False)], "down"),
        ([OPEN, ACKED, HeartbeatClosed(5.0, "closed")], "closed"),
    ],
)
def test_state_follows_the_events(events: list[Event], state: str) -> None:
    client = HeartbeatClient(HeartbeatPolicy(), PEER, 0.0, lambda: 0.5)
    client.publish(events)
    assert client.snapshot.state == client.state == state


def test_a_snapshot_tells_what_the_peer_said() -> None:
    client = HeartbeatClient(HeartbeatPolicy(), PEER, 0.0, lambda: 0.5)
    for event in (
        OPEN,
        PeerIdentified(1.0, PEER),
        BeatSent(1.5, 1),
        ACKED,
        BeatSent(2.5, 2),
        MISSED,
        LateEcho(3.5, 2, 0.3, Ack(2, ServingStatus.NOT_SERVING, Load(in_flight=9)), None),
    ):
        client.publish([event])
    known = client.snapshot
    assert (known.state, known.since, known.peer, known.serving) == ("late", 3.0, PEER, ServingStatus.NOT_SERVING)
    assert (known.sequence, known.consecutive_misses, known.last_rtt) == (2, 1, 0.3)
    assert (known.streams, known.beats, known.acked, known.missed, known.late_echoes) == (1, 2, 1, 1, 1)
    assert known.load == Load(in_flight=9)
    assert known.rtt is not None
    assert (known.rtt.samples, known.rtt.max) == (2, 0.3)
    assert (known.verdict, known.verdict_since, known.why) == (Verdict.LATE, 3.0, "1 in a row not echoed")
    assert (known.write, known.echo, known.operational) == (Side.ALIVE, Side.STALE, False)
    assert known.phi == 0, "nothing is awaited after the late echo"
    client.publish([BeatSent(5.0, 3)])
    known, later = client.snapshot, client.snapshot_at(19.0)
    assert later.phi > known.phi >= 0
    assert later == replace(known, phi=later.phi)


def test_since_is_when_the_state_was_entered() -> None:
    client = HeartbeatClient(HeartbeatPolicy(), PEER, 0.0, lambda: 0.5)
    client.publish(BeatAcked(at, 1, 0.1, Ack(1)) for at in (2.0, 3.0, 4.0))
    assert (client.snapshot.since, client.snapshot.verdict_since) == (2.0, 2.0)


def test_a_window_without_samples_has_no_figures() -> None:
    assert RttWindow().stats() is None


@given(st.floats(0.01, 1), st.floats(1, 60), st.lists(st.floats(0, 0.999), min_size=12, max_size=12))
def test_pauses_double_within_their_jitter_until_reset(minimum: float, maximum: float, randoms: list[float]) -> None:
    numbers = iter(randoms)
    backoff = Backoff(minimum, maximum, lambda: next(numbers))
    for attempt in range(11):
        plain = min(maximum, minimum * 2**attempt)
        assert plain * (1 - JITTER) <= backoff.pause() <= plain * (1 + JITTER) * (1 + 1e-9)
    backoff.reset()
    assert backoff.pause() <= minimum * (1 + JITTER)


def test_a_client_reopens_with_growing_pauses_until_a_beat_is_echoed() -> None:
    client = HeartbeatClient(HeartbeatPolicy(reconnect_min=1.0, reconnect_max=8.0), PEER, 0.0, lambda: 0.5)
    assert client.opening(3.0)[1] == StreamOpening(3.0)
    assert [client.pause() for _ in range(5)] == [1.0, 2.0, 4.0, 8.0, 8.0]
    client.publish([OPEN])
    assert client.pause() == 8.0
    client.publish([ACKED])
    assert client.pause() == 1.0


def test_a_peer_without_heartbeats_is_left_alone_where_nothing_else_may_be_asked() -> None:
    client = HeartbeatClient(HeartbeatPolicy(fallback=False), PEER, 0.0, lambda: 0.5)
    client.publish([failed("refused", opened=False)])
    assert client.pause() is not None
    client.publish([failed("unsupported", opened=False)])
    assert client.pause() is None
    assert client.snapshot.state == "unsupported"


def test_nothing_is_awaited_of_a_peer_after_the_closing_not_even_that_it_learns_heartbeats() -> None:
    client = HeartbeatClient(HeartbeatPolicy(), PEER, 0.0, lambda: 0.5)
    client.opening(0.0)
    client.publish([failed("unsupported", opened=False)])
    client.opening(1.0)
    client.publish([StreamOpened(1.0), ACKED])
    assert client.next_wakeup(1.0) is not None
    client.close(2.0, "enough")
    assert client.next_wakeup(2.0) is None


def test_closing_is_told_once() -> None:
    client = HeartbeatClient(HeartbeatPolicy(), PEER, 0.0, lambda: 0.5)
    assert client.close(1.0, "enough") == HeartbeatClosed(1.0, "enough")
    assert client.close(2.0, "again") is None
    assert client.pause() is None
    assert client.snapshot.last_error == "enough"
