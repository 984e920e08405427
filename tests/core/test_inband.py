"""Beats inside business streams: recognised among any bytes, sent only in quiet, bounded without a sign of the peer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.inband import (
    BEAT_BYTES,
    KEY,
    MAGIC,
    MOST_UNANSWERED,
    OFFER,
    TOKEN_BYTES,
    Beat,
    Pulse,
    decode,
    encode,
    offered,
    token_in,
)
from grpc_heartbeat.v1.heartbeat_pb2 import Beat as SomeMessage

numbers = st.integers(0, 2**32 - 1)
tokens = st.binary(min_size=TOKEN_BYTES, max_size=TOKEN_BYTES)


@given(numbers, numbers, tokens)
def test_a_beat_comes_back_as_it_was(sequence: int, echo: int, token: bytes) -> None:
    message = encode(Beat(sequence, echo), token)
    assert len(message) == BEAT_BYTES
    assert decode(message, token) == Beat(sequence, echo)


@given(st.binary(max_size=40), tokens, tokens)
def test_whatever_begins_with_the_magic_is_data_without_the_token(rest: bytes, token: bytes, other: bytes) -> None:
    assert token == other or decode(MAGIC + other + rest, token) is None


@given(st.binary(max_size=20), tokens)
def test_a_message_of_another_length_is_data(rest: bytes, token: bytes) -> None:
    assert len(rest) == 8 or decode(MAGIC + token + rest, token) is None


def test_a_beat_that_reaches_a_protobuf_parser_is_one_unknown_field() -> None:
    message = SomeMessage.FromString(encode(Beat(7, 3), b"12345678"))
    assert not message.ListFields()
    assert message.SerializeToString() == encode(Beat(7, 3), b"12345678")


def test_client_and_server_agree_in_metadata() -> None:
    assert offered([("x", "y"), (KEY, OFFER)])
    assert not offered(None)
    assert not offered([(KEY, "2"), ("x", OFFER)])
    assert token_in([("x", "y"), (KEY, "00112233445566ff")]) == bytes.fromhex("00112233445566ff")


@pytest.mark.parametrize(
    "value", ["", "1", "00112233445566f", "00112233445566zz", "00112233445566ff00", b"00112233445566ff"]
)
def test_an_answer_that_is_malformed_is_none(value: str | bytes) -> None:
    assert token_in([(KEY, value)]) is None
    assert token_in(None) is None


def test_a_quiet_stream_beats_at_the_interval_and_a_busy_one_never() -> None:
    pulse = Pulse(1.0, 0.0)
    assert pulse.beat_due(0.99) is None
    assert pulse.beat_due(1.0) == Beat(1)
    pulse.data_sent(1.9)
    assert pulse.beat_due(2.0) is None
    assert pulse.next_wakeup() == pytest.approx(2.9)


def test_an_echo_is_sent_at_once_and_answered_by_nobody() -> None:
    here, there = Pulse(1.0, 0.0), Pulse(1.0, 0.0)
    beat = here.beat_due(1.0)
    assert beat is not None
    there.data_sent(0.9)
    there.beat_received(beat, 1.1)
    echo = there.beat_due(1.1)
    assert echo == Beat(0, 1)
    here.beat_received(Beat(0, 1), 1.25)
    assert here.rtt == pytest.approx(0.25)
    assert here.beat_due(1.25) is None


def test_an_echo_of_a_later_beat_ends_the_wait_for_an_earlier_one() -> None:
    pulse = Pulse(1.0, 0.0)
    assert [pulse.beat_due(1.0), pulse.beat_due(2.0)] == [Beat(1), Beat(2)]
    pulse.beat_received(Beat(0, 2), 2.5)
    assert pulse.rtt == pytest.approx(1.5)


def test_without_a_sign_of_the_peer_beats_stop_and_any_sign_starts_them_again() -> None:
    pulse = Pulse(1.0, 0.0)
    beats = [pulse.beat_due(float(second)) for second in range(1, 30)]
    assert len([beat for beat in beats if beat]) == MOST_UNANSWERED
    assert pulse.next_wakeup() is None
    pulse.data_received(30.0)
    assert pulse.beat_due(30.0) is not None


def test_where_the_peer_cannot_answer_the_transport_does() -> None:
    pulse = Pulse(1.0, 0.0, echoes=False)
    for second in range(1, 30):
        assert pulse.beat_due(float(second)) is not None
        pulse.beat_taken()
    assert pulse.rtt is None


@given(st.lists(st.tuples(st.sampled_from(["send", "hear", "beat", "wait"]), st.floats(0, 3)), max_size=60))
def test_beats_are_never_closer_than_the_interval_unless_they_echo(steps: list[tuple[str, float]]) -> None:
    pulse, now, quiet_since = Pulse(1.0, 0.0), 0.0, 0.0
    for index, (step, seconds) in enumerate(steps):
        now += seconds
        if step == "send":
            pulse.data_sent(now)
            quiet_since = now
        elif step == "hear":
            pulse.data_received(now)
        elif step == "beat":
            pulse.beat_received(Beat(index + 1), now)
        due = pulse.beat_due(now)
        if due is not None:
            assert due.echo or now - quiet_since >= 1.0
            quiet_since = now


def simulate(seconds: float, reads: tuple[bool, bool], delay: float = 0.01) -> tuple[Pulse, Pulse]:
    """Let two ends be quiet, of which either may not read what comes."""
    ends = (Pulse(1.0, 0.0), Pulse(1.0, 0.0))
    on_the_way: list[tuple[float, int, Beat]] = []
    for step in range(int(seconds / delay)):
        now = step * delay
        due = [item for item in on_the_way if item[0] <= now and reads[item[1]]]
        for item in due:
            on_the_way.remove(item)
            ends[item[1]].beat_received(item[2], now)
        for index, end in enumerate(ends):
            beat = end.beat_due(now)
            if beat is not None:
                on_the_way.append((now + delay, 1 - index, beat))
    return ends


def test_two_ends_that_read_go_on_for_ever_and_no_faster_than_they_should() -> None:
    here, there = simulate(100, (True, True))
    assert 90 <= here.heard <= 210
    assert 90 <= there.heard <= 210
    assert here.rtt is not None
    assert here.rtt <= 0.05


@pytest.mark.parametrize("reads", [(False, False), (True, False), (False, True)])
def test_an_end_that_does_not_read_is_not_sent_more_than_a_few_beats(reads: tuple[bool, bool]) -> None:
    here, there = simulate(200, reads)
    assert max(here.sent, there.sent) <= 3 * MOST_UNANSWERED
