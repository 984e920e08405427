"""``tcp`` against listeners."""

from __future__ import annotations

import asyncio
import socket

from grpc_heartbeat import HeartbeatPolicy, events
from grpc_heartbeat.core.verdicts import Verdict
from tests.peers import PATIENCE
from tests.strategies.heard import probing


def target_of(listener: socket.socket | asyncio.Server) -> str:
    end = listener if isinstance(listener, socket.socket) else listener.sockets[0]
    return f"127.0.0.1:{end.getsockname()[1]}"


async def test_one_connection_is_kept_and_each_probe_makes_one() -> None:
    writers: list[asyncio.StreamWriter] = []
    ended: list[asyncio.StreamWriter] = []
    all_ended = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(b"220 a banner that nobody wants\r\n")
        try:
            assert await reader.read() == b""
        finally:
            ended.append(writer)
            writer.close()
            if len(ended) == len(writers):
                all_ended.set()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        async with probing("tcp", f"tcp://{target_of(server)}") as heard:
            await heard.first(events.BeatAcked, 3)
            await heard.until(lambda: len(writers) >= 4 and len(ended) >= 3)
            assert writers[0] not in ended
            all_ended.clear()
        await asyncio.wait_for(all_ended.wait(), PATIENCE)


async def test_the_kernel_answers_for_who_never_accepts() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        async with probing("tcp", target_of(listener)) as heard:
            await heard.first(events.BeatAcked, 3)


async def test_the_end_of_the_kept_connection_is_noticed_at_once() -> None:
    hang_up = asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hang_up.wait()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server, probing("tcp", target_of(server), HeartbeatPolicy(interval=30)) as heard:
        await heard.first(events.BeatAcked)
        hang_up.set()
        assert (await heard.first(events.StreamFailed)).why == "the peer closed the connection"


async def test_a_listener_that_closes_is_down_and_up_when_it_is_back() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    async with probing("tcp", target_of(listener)) as heard:
        await heard.first(events.BeatAcked)
        address = listener.getsockname()
        listener.close()
        await heard.verdict(Verdict.DOWN)
        assert "the connection was refused" in {event.why for event in heard.all(events.StreamFailed)}
        with socket.create_server(address, backlog=100):
            await heard.verdict(Verdict.UP)
