"""A port that accepts and then says nothing, and strangers who say anything."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat import events
from grpc_heartbeat.core.verdicts import Verdict
from grpc_heartbeat.strategies.http2 import _Connection
from grpc_heartbeat.strategies.link import Link
from grpc_heartbeat.strategies.strategy import StrategyError
from tests import aiorun
from tests.strategies.heard import FAST, probing

FRAMES = st.builds(
    lambda length, kind, flags, stream, body: length.to_bytes(3, "big") + bytes([kind, flags]) + stream + body,
    st.integers(0, 40),
    st.integers(0, 12),
    st.integers(0, 255),
    st.sampled_from([bytes(4), b"\0\0\0\1", b"\0\0\0\2"]),
    st.binary(max_size=40),
)


@pytest.mark.parametrize(
    ("strategy", "scheme"),
    [
        ("http2-ping", "http"),
        ("http2-ping", "https"),
        ("websocket-ping", "ws"),
        ("websocket-ping", "wss"),
        ("grpc", "https"),
    ],
)
async def test_a_silent_port_is_given_up(strategy: str, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        async with probing(strategy, f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", FAST) as heard:
            assert (await heard.first(events.StreamFailed)).cause == "silent"
            await heard.verdict(Verdict.DOWN)


class Transport:
    """Takes everything and keeps nothing."""

    def get_extra_info(self, name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)


@given(st.lists(FRAMES | st.binary(max_size=60), max_size=8))
def test_http2_takes_anything_that_strangers_send(chunks: list[bytes]) -> None:
    async def main() -> None:
        told = list[Exception]()
        link = Link()
        link.tell(told.append)
        connection = _Connection(link)
        transport: Any = Transport()
        connection.connection_made(transport)
        answered = connection.ping(1)
        for chunk in [b"\0\0\0\4\0\0\0\0\0", *chunks]:
            connection.data_received(chunk)
        assert connection.settled.done()
        assert not answered.done()  # nobody guesses the opaque data
        assert all(isinstance(error, StrategyError) for error in told)
        assert len(told) <= 1

    aiorun.run(main())


async def test_http2_answers_what_it_must() -> None:
    sent = bytearray()

    class Kept(Transport):
        def write(self, data: bytes) -> None:
            sent.extend(data)

    link = Link()
    connection = _Connection(link)
    transport: Any = Kept()
    connection.connection_made(transport)
    sent.clear()
    connection.data_received(b"\0\0\0\4\0\0\0\0\0" + b"\0\0\x08\6\0\0\0\0\0" + b"question")
    assert bytes(sent) == b"\0\0\0\4\1\0\0\0\0" + b"\0\0\x08\6\1\0\0\0\0" + b"question"
    asked = connection.ping(7)
    for byte in b"\0\0\x08\6\1\0\0\0\0" + bytes(sent[-8:]):
        assert not asked.done()
        connection.data_received(bytes([byte]))
    await asyncio.wait_for(asked, 1)
