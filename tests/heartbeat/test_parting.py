"""Streams that are over stand until they end by themselves, or until their time is up."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.heartbeat.parting import Parting


def test_a_stream_is_cut_once_and_stays_until_it_ends() -> None:
    parting, first, second = Parting(), _stream(), _stream()
    parting.add(first, 2.0)
    parting.add(second, 1.0)
    assert parting.next_cut == 1.0
    assert parting.overdue(0.9) == []
    assert parting.overdue(1.0) == [second]
    assert parting.next_cut == 2.0
    assert parting.overdue(1.5) == []
    assert list(parting) == [first, second]
    parting.ended(second)
    assert list(parting) == [first]
    assert parting.overdue(2.0) == [first]
    assert parting.next_cut == math.inf
    assert parting
    parting.ended(first)
    assert not parting


@given(cuts=st.lists(st.floats(0, 100)), now=st.floats(0, 100))
def test_exactly_those_whose_time_is_up_are_overdue(cuts: list[float], now: float) -> None:
    parting, streams = Parting(), [_stream() for _ in cuts]
    for stream, cut in zip(streams, cuts, strict=True):
        parting.add(stream, cut)
    assert parting.overdue(now) == [stream for stream, cut in zip(streams, cuts, strict=True) if cut <= now]
    assert parting.next_cut == min((cut for cut in cuts if cut > now), default=math.inf)


def _stream() -> Any:
    return object()
