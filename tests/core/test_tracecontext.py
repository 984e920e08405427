"""Binary W3C trace context."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core import tracecontext
from grpc_heartbeat.core.tracecontext import TraceContext

contexts = st.builds(TraceContext, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))


@given(contexts)
def test_a_context_survives_the_wire(context: TraceContext) -> None:
    data = tracecontext.encode(context)
    assert len(data) == tracecontext.LENGTH
    assert tracecontext.decode(data) == context


def test_the_layout_is_the_documented_one() -> None:
    data = tracecontext.encode(TraceContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, 1))
    assert data.hex() == "00" + "0af7651916cd43dd8448eb211c80319c" + "b7ad6b7169203331" + "01"


@given(st.binary(max_size=40))
def test_a_strangers_bytes_are_a_context_or_nothing(data: bytes) -> None:
    context = tracecontext.decode(data)
    valid = len(data) == 26 and data[0] == 0 and any(data[1:17]) and any(data[17:25])
    assert (context is not None) == valid


@pytest.mark.parametrize("spoil", [slice(1, 17), slice(17, 25)])
def test_zero_ids_are_refused(spoil: slice) -> None:
    data = bytearray(tracecontext.encode(TraceContext(1, 1, 1)))
    data[spoil] = bytes(spoil.stop - spoil.start)
    assert tracecontext.decode(bytes(data)) is None
