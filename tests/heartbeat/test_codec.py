"""Frames on the wire: round trips, and what strangers may send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.config import MAX_LABEL_BYTES, Identity
from grpc_heartbeat.core import tracecontext
from grpc_heartbeat.core.frames import Ack, Beat, Frame, Goodbye, GoodbyeReason, Hello, Load, ServingStatus
from grpc_heartbeat.heartbeat import codec
from grpc_heartbeat.v1 import heartbeat_pb2 as pb

labels = st.text(st.characters(codec="utf-8"), max_size=60)
identities = st.builds(Identity, labels, labels, labels)
millis = st.integers(0, 10**9).map(lambda number: number / 1e3)
micros = st.none() | st.integers(0, 10**9).map(lambda number: number / 1e6)
contexts = st.just(b"") | st.builds(
    lambda trace, span: tracecontext.encode(tracecontext.TraceContext(trace, span, 1)),
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
)
loads = st.builds(
    Load,
    st.none() | st.integers(0, 2**32 - 1),
    micros,
    micros,
    st.none() | st.integers(0, 10**6).map(lambda n: n / 1e3),
    micros,
)
sequences = st.integers(0, 2**64 - 1)
beats = st.builds(Beat, sequences, st.sampled_from(["liveness", "readiness"]), contexts, millis)
acks = st.builds(Ack, sequences, st.sampled_from(ServingStatus), st.none() | loads, millis, st.none() | identities)
frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Hello, identities, st.text(st.characters(codec="ascii"), max_size=512)),
    beats,
    acks,
    st.builds(Goodbye, st.sampled_from(GoodbyeReason), labels),
)


@given(frames)
def test_a_frame_survives_the_wire(frame: Frame) -> None:
    assert codec.decode(codec.encode(frame)) == frame


@given(beats, acks)
def test_a_ping_survives_the_wire(beat: Beat, ack: Ack) -> None:
    assert codec.decode_beat(codec.encode_beat(beat)) == beat
    assert codec.decode_ack(codec.encode_ack(ack)) == ack


@given(st.binary(max_size=200))
def test_strangers_bytes_never_raise(data: bytes) -> None:
    frame = codec.decode(data)
    if frame is not None:
        assert codec.decode(codec.encode(frame)) is not None
    codec.decode_beat(data)
    codec.decode_ack(data)


@pytest.mark.parametrize("data", [b"", b"\xff\xff", bytes.fromhex("9a0600"), b"\x0a\x03\x0a\x01\xff"])
def test_what_has_no_known_kind_is_nothing(data: bytes) -> None:
    assert codec.decode(data) is None


@given(st.text(st.characters(codec="utf-8"), max_size=400))
def test_long_names_are_cut_between_characters(text: str) -> None:
    hello = codec.decode(pb.Frame(hello=pb.Hello(service=text)).SerializeToString())
    assert isinstance(hello, Hello)
    service = hello.identity.service
    assert text.startswith(service)
    assert len(service.encode()) <= MAX_LABEL_BYTES
    rest = text[len(service) :]
    assert not rest or len((service + rest[0]).encode()) > MAX_LABEL_BYTES


@given(st.binary(max_size=60))
def test_a_bad_trace_context_is_dropped_and_the_beat_stays(context: bytes) -> None:
    beat = codec.decode(pb.Frame(beat=pb.Beat(sequence=3, trace_context=context)).SerializeToString())
    expected = context if tracecontext.decode(context) else b""
    assert beat == Beat(3, "liveness", expected)


def test_enum_numbers_of_a_later_version_are_unspecified() -> None:
    ack = codec.decode(bytes.fromhex("1a02") + bytes((0x10, 99)))
    assert isinstance(ack, Ack)
    assert ack.status is ServingStatus.UNKNOWN
    assert codec.decode(bytes.fromhex("22020863")) == Goodbye(GoodbyeReason.UNSPECIFIED)


def test_a_long_tracestate_is_dropped() -> None:
    hello = codec.decode(codec.encode(Hello(Identity("a", "b", "c"), "x" * 513)))
    assert hello == Hello(Identity("a", "b", "c"), "")


def test_durations_round_up_so_that_a_promise_holds() -> None:
    beat = codec.decode(codec.encode(Beat(1, next_within=0.0101)))
    assert isinstance(beat, Beat)
    assert beat.next_within == 0.011
