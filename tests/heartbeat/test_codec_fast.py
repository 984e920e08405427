"""The short cuts of the codec: never another meaning than protobuf's own, whatever the bytes are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grpc_heartbeat.core import tracecontext
from grpc_heartbeat.core.frames import Ack, Beat, Frame, Load, ServingStatus
from grpc_heartbeat.heartbeat import codec, messages
from tests.heartbeat.test_codec import contexts, frames, identities

CONTEXT = tracecontext.encode(tracecontext.TraceContext(2**100, 2**50, 1))
OTHER_CONTEXT = tracecontext.encode(tracecontext.TraceContext(2**90, 2**40, 1))
SEQUENCE = b"\x09" + (7).to_bytes(8, "little")
OTHER_SEQUENCE = b"\x09" + (8).to_bytes(8, "little")

durations = st.floats(-1.0, 5e9) | st.just(0.0)
maybe_durations = st.none() | durations
wild_loads = st.builds(
    Load, st.none() | st.integers(-1, 2**40), maybe_durations, maybe_durations, maybe_durations, maybe_durations
)
wild_frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(
        Beat,
        st.integers(0, 2**64 - 1),
        st.sampled_from(["liveness", "readiness"]),
        contexts | st.binary(max_size=300) | st.binary(min_size=26, max_size=26),
        durations,
    ),
    st.builds(
        Ack,
        st.integers(0, 2**64 - 1),
        st.sampled_from(ServingStatus),
        st.none() | wild_loads,
        durations,
        st.none() | identities,
    ),
)


def varint(number: int, extra: int = 0) -> bytes:
    """Return ``number`` in base 128, longer than needed by ``extra`` bytes."""
    groups = [number >> shift & 0x7F for shift in range(0, max(1, number.bit_length()), 7)] + [0] * extra
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def with_length(key: int, content: bytes) -> bytes:
    return bytes((key,)) + varint(len(content)) + content


varints = st.builds(varint, st.integers(0, 2**64 - 1) | st.integers(0, 3), st.integers(0, 2))
pieces = st.one_of(
    st.sampled_from(
        [OTHER_SEQUENCE, b"\x09" + bytes(8), b"\x12\x00", b"\x12\x1a" + OTHER_CONTEXT, b"\x12\x1a" + bytes(26)]
    ),
    st.builds(lambda key, value: bytes((key,)) + value, st.sampled_from([0x08, 0x10, 0x18, 0x20, 0x28, 0x78]), varints),
    st.builds(with_length, st.sampled_from([0x12, 0x1A, 0x2A, 0x7A]), st.binary(max_size=30)),
    st.builds(
        lambda key, value: with_length(0x1A, bytes((key,)) + value), st.sampled_from([8, 16, 24, 32, 40, 48]), varints
    ),
    st.sampled_from([b"\x0b\x0c", b"\x0b", b"\x0c", b"\x13\x08\x01\x14", b"\x4d\x00\x00\x00\x00", b"\x00\x01"]),
    st.binary(max_size=4),
)
bodies = st.builds(
    lambda before, rest: before + b"".join(rest),
    st.sampled_from([SEQUENCE, SEQUENCE + b"\x12\x1a" + CONTEXT, b""]),
    st.lists(pieces, max_size=5),
)
patchworks = st.builds(with_length, st.sampled_from([0x12, 0x1A, 0x0A, 0x22]), bodies)


@st.composite
def mutilated(draw: st.DrawFn) -> bytes:
    """Return a good frame that was cut, extended or changed in places."""
    data = bytearray(messages.encode(draw(frames)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    if draw(st.booleans()) and len(data) >= 2:
        data[1] = (len(data) - 2) & 0x7F
    return bytes(data)


def same(fast: Frame | None, plain: Frame | None) -> None:
    assert type(fast) is type(plain)
    assert fast == plain
    assert repr(fast) == repr(plain)  # 1.0 and 1 are equal


@given(frames | wild_frames)
@example(Beat(0))
@example(Ack(0))
@example(Beat(2**64 - 1, "readiness", CONTEXT, 1e9))
@example(Ack(2**64 - 1, ServingStatus.NOT_SERVING, Load(2**32 - 1, 1e9, 1e9, 1e9, 1e9), 1e9))
def test_the_bytes_are_those_of_protobufs_own_serializer(frame: Frame) -> None:
    assert codec.encode(frame) == messages.encode(frame)


@given(patchworks | mutilated() | st.binary(max_size=200))
@example(with_length(0x12, SEQUENCE + b"\x09" + bytes(8)))  # the sequence once more, as zero
@example(with_length(0x12, SEQUENCE + OTHER_SEQUENCE))
@example(with_length(0x1A, SEQUENCE + OTHER_SEQUENCE))
@example(with_length(0x12, SEQUENCE + b"\x12\x1a" + CONTEXT + b"\x12\x1a" + OTHER_CONTEXT))
@example(with_length(0x12, SEQUENCE + b"\x12\x1a" + CONTEXT + b"\x12\x00"))  # the context taken back
@example(with_length(0x12, SEQUENCE + b"\x12\x1a" + CONTEXT[:20]))
@example(with_length(0x12, SEQUENCE + b"\x12\x1a" + bytes(26)))
@example(with_length(0x12, SEQUENCE + b"\x18\x81\x00"))  # an overlong number
@example(with_length(0x1A, SEQUENCE + b"\x1a\x02\x08\x01\x1a\x02\x10\x05"))  # a load in two pieces
@example(with_length(0x1A, SEQUENCE) * 2)
@example(with_length(0x12, SEQUENCE) + with_length(0x1A, SEQUENCE))
@example(with_length(0x1A, SEQUENCE + b"\x2a\x02\x0a\x00"))
@example(with_length(0x1A, SEQUENCE + b"\x7a\x70" + bytes(112)))
@example(b"\x12\x89\x00" + SEQUENCE)  # an overlong length
def test_any_bytes_mean_what_protobufs_own_parser_reads(data: bytes) -> None:
    same(codec.decode(data), messages.decode(data))


@given(frames | wild_frames)
def test_any_frame_is_read_alike(frame: Frame) -> None:
    data = messages.encode(frame)
    same(codec.decode(data), messages.decode(data))


@pytest.mark.parametrize(
    "frame",
    [
        Beat(1, "liveness", b"", 6.0),
        Beat(2**64 - 1, "readiness", CONTEXT),
        Ack(1),
        Ack(9, ServingStatus.SERVING, Load(1, 0.5, 0.25, 0.5, 0.125), 30.0),
    ],
)
def test_what_is_common_takes_the_short_cut(frame: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    data = messages.encode(frame)

    def refuse(_: Any) -> Any:
        raise AssertionError("the long way")

    monkeypatch.setattr(messages, "encode", refuse)
    monkeypatch.setattr(messages, "decode", refuse)
    assert codec.encode(frame) == data
    assert codec.decode(data) == frame


@pytest.mark.parametrize("sequence", [-1, 2**64])
@pytest.mark.parametrize("kind", [Beat, Ack])
def test_a_sequence_that_does_not_fit_is_refused_as_protobuf_does(kind: type[Beat | Ack], sequence: int) -> None:
    with pytest.raises(ValueError, match="range"):
        codec.encode(kind(sequence))


def test_strangers_tails_are_remembered_within_bounds() -> None:
    for number in range(600):
        for key in (0x12, 0x1A):
            data = with_length(key, SEQUENCE + b"\x20" + varint(number))
            same(codec.decode(data), messages.decode(data))
            codec.encode(Ack(1, advised_interval=float(number)))
            codec.encode(Beat(1, next_within=float(number)))
    for name in ("_beat_tail", "_ack_tail", "_beat_ends", "_ack_ends"):
        remembered = getattr(codec, name).cache_info()
        assert remembered.currsize <= remembered.maxsize == 256
