"""The pooled channel of the asyncio stack against real servers."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from grpc_heartbeat import HeartbeatPolicy, PoolPolicy, Timeouts, aio
from grpc_heartbeat.core.pool import PoolSnapshot
from grpc_heartbeat.heartbeat.calls import PING
from tests.heartbeat.relay import Relay
from tests.peers import KINDS, PATIENCE, path, wait_until
from tests.pool.conftest import CHECK, Peer

OFTEN = PoolPolicy(idle=0.4, timeout=0.15)
"""Finds the dead soon."""

PATIENT = PoolPolicy(idle=2.0, timeout=1.0)
"""Probes every second, and takes a peer on a loud machine for alive."""


@asynccontextmanager
async def pooled(target: str, pool: PoolPolicy | None = None, **options: Any) -> AsyncIterator[aio.PooledChannel]:
    async with aio.pooled_channel(target, pool=pool, **options) as channel:
        yield channel


def unary(channel: grpc.aio.Channel) -> Any:
    return channel.unary_unary(path("UnaryUnary"))


async def until(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_until, condition)


async def when(channel: aio.PooledChannel, condition: Callable[[PoolSnapshot], object]) -> PoolSnapshot:
    await until(lambda: condition(channel.pool.snapshot()))
    return channel.pool.snapshot()


async def messages(*items: bytes) -> AsyncIterator[bytes]:
    for item in items:
        yield item


@pytest.mark.parametrize("limits", [None, Timeouts(total=PATIENCE, connect=PATIENCE, header=PATIENCE, idle=PATIENCE)])
async def test_every_kind_of_call_is_made_and_counted_to_its_end(peer: Peer, limits: Timeouts | None) -> None:
    async with pooled(peer.target, timeouts=limits) as channel:
        names = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
        one, responses, requests, both = (
            getattr(channel, name)(path(kind)) for kind, name in zip(KINDS, names, strict=True)
        )
        assert await one(b"a", timeout=PATIENCE) == b"a"
        assert [item async for item in responses(b"d", timeout=PATIENCE)] == [b"", b"d"]
        assert await requests(messages(b"e", b"f"), timeout=PATIENCE) == b"ef"
        assert [item async for item in both(messages(b"i", b"j"), timeout=PATIENCE)] == [b"i", b"j"]
        call = both(timeout=PATIENCE)
        await call.write(b"k")
        assert await call.read() == b"k"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        found = await when(channel, lambda snapshot: snapshot.in_flight == 0)
        assert (found.calls, found.connections, found.ready) == (5, 1, 1)
        assert found.reuse_rate == 4 / 5


async def test_interceptors_see_the_calls(peer: Peer) -> None:
    seen: list[bytes] = []

    class Seeing(grpc.aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            seen.append(request)
            return await continuation(client_call_details, request)

    async with pooled(peer.target, interceptors=[Seeing()]) as channel:
        assert await unary(channel)(b"a", timeout=PATIENCE) == b"a"
        found = await when(channel, lambda snapshot: snapshot.in_flight == 0)
        assert (seen, found.live) == ([b"a"], 1)


async def test_calls_at_a_time_have_connections_of_their_own(peer: Peer) -> None:
    async with pooled(peer.target, PoolPolicy(size=3)) as channel:
        calls = [unary(channel)(b"wait", timeout=PATIENCE) for _ in range(6)]
        assert channel.pool.snapshot().in_flight == 6
        await until(lambda: len(peer.peers) == 6)
        peer.go.set()
        assert [await call for call in calls] == [b"wait"] * 6
        found = await when(channel, lambda snapshot: snapshot.in_flight == 0)
        assert (found.connections, found.live) == (3, 3)
    assert sorted(peer.peers.count(one) for one in set(peer.peers)) == [2, 2, 2]


async def test_an_idle_connection_is_probed_and_stays_in_use(peer: Peer) -> None:
    async with pooled(peer.target, PATIENT) as channel:
        await unary(channel)(b"", timeout=PATIENCE)
        await when(channel, lambda snapshot: snapshot.probes >= 2)
        await unary(channel)(b"", timeout=PATIENCE)
        found = channel.pool.snapshot()
    assert set(peer.probes) == {PING}
    assert len(set(peer.peers)) == 1
    assert (found.silent, found.rebuilds, found.reused) == (0, 0, 1)


@pytest.mark.parametrize("services", [(CHECK,), ()])
async def test_a_peer_without_heartbeats_is_asked_for_its_health_and_any_answer_will_do(
    services: tuple[str, ...],
) -> None:
    peer = Peer(*services)
    async with pooled(peer.target, PATIENT) as channel:
        await unary(channel)(b"", timeout=PATIENCE)
        found = await when(channel, lambda snapshot: snapshot.probes >= 3)
        assert peer.probes[:2] == [PING, CHECK]
        assert (found.silent, found.stale) == (0, 0)
    peer.close()


async def test_a_silent_connection_is_replaced_by_the_next_call(peer: Peer, relay: Relay) -> None:
    async with pooled(relay.target, OFTEN) as channel:
        await unary(channel)(b"", timeout=PATIENCE)
        relay.forget()
        found = await when(channel, lambda snapshot: snapshot.stale == 1)
        assert (found.live, found.rebuilds) == (0, 0)
        assert await unary(channel)(b"again", timeout=PATIENCE) == b"again"
        found = channel.pool.snapshot()
        assert (found.rebuilds, found.stale, found.live) == (1, 0, 1)
    assert len(set(peer.peers)) == 2


async def test_a_stream_on_a_replaced_connection_is_left_alone(peer: Peer, relay: Relay) -> None:
    async with pooled(relay.target, PoolPolicy(size=1, idle=0.4, timeout=0.15)) as channel:
        stream = channel.unary_stream(path("UnaryStream"))(b"endless")
        assert await stream.read() == b""
        relay.forget()
        await when(channel, lambda snapshot: snapshot.stale == 1)
        assert await unary(channel)(b"again", timeout=PATIENCE) == b"again"
        assert not stream.done()
        assert channel.pool.snapshot().in_flight == 1
        stream.cancel()
        await when(channel, lambda snapshot: snapshot.in_flight == 0)


async def test_an_unanswered_call_has_its_connection_probed(peer: Peer) -> None:
    async with pooled(peer.target, PoolPolicy(timeout=0.05)) as channel:
        await unary(channel)(b"", timeout=PATIENCE)
        await asyncio.sleep(0.06)  # sleep: within the first 50 ms after a sign of life nothing is doubted
        with pytest.raises(grpc.aio.AioRpcError):
            await unary(channel)(b"unavailable", timeout=PATIENCE)
        await until(lambda: peer.probes == [PING])
        await when(channel, lambda snapshot: snapshot.live == 1)


async def test_an_error_that_the_peer_answered_is_a_sign_of_life_and_a_call_that_is_not_sent_is_none(
    peer: Peer,
) -> None:
    async with pooled(peer.target, PoolPolicy(timeout=0.01)) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await unary(channel)(b"fail", timeout=PATIENCE)
        await when(channel, lambda snapshot: snapshot.live == 1)
        await asyncio.sleep(0.02)  # sleep: within the first 10 ms after a sign of life nothing is doubted
        with pytest.raises(grpc.aio.AioRpcError):
            await unary(channel)(b"", timeout=-1.0)
        found = channel.pool.snapshot()
        assert (found.in_flight, found.live, found.calls) == (0, 1, 2)


async def test_a_stream_that_is_dropped_ends(peer: Peer) -> None:
    async with pooled(peer.target) as channel:
        stream = channel.unary_stream(path("UnaryStream"))(b"endless")
        assert await stream.read() == b""
        assert channel.pool.snapshot().in_flight == 1
        del stream
        gc.collect()
        await when(channel, lambda snapshot: snapshot.in_flight == 0)


async def test_limits_hold_on_the_members_and_each_has_a_heartbeat(peer: Peer) -> None:
    powers: dict[str, Any] = {"timeouts": Timeouts(total=0.05), "heartbeat": HeartbeatPolicy(interval=0.05)}
    async with pooled(peer.target, **powers) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary(channel)(b"wait")
        assert caught.value.timeout.layer == "total"  # type: ignore[attr-defined]  # ours
        (member,) = channel.pool.channels()
        assert member.heartbeat is not None


async def test_the_best_connectivity_of_any_connection_is_told(peer: Peer) -> None:
    async with pooled(peer.target) as channel:
        assert channel.get_state() is grpc.ChannelConnectivity.IDLE
        waiting = [asyncio.ensure_future(channel.channel_ready()) for _ in range(3)]
        await asyncio.wait(waiting, timeout=PATIENCE)
        assert all(one.done() for one in waiting)
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        idle = asyncio.ensure_future(channel.wait_for_state_change(grpc.ChannelConnectivity.READY))
        await asyncio.sleep(0)
        idle.cancel()  # what it waited with is taken down by closing
    assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN


async def test_a_closed_channel_fails_as_grpcs_own(peer: Peer) -> None:
    channel = aio.pooled_channel(peer.target)
    method = unary(channel)
    stream = channel.unary_stream(path("UnaryStream"))(b"endless")
    assert await stream.read() == b""
    await channel.close()
    assert await stream.code() is grpc.StatusCode.CANCELLED
    unused = aio.pooled_channel(peer.target)
    await unused.close()
    own = grpc.aio.insecure_channel(peer.target)
    await own.close()
    with pytest.raises(Exception) as expected:  # noqa: PT011 - the very type has no public name
        await unary(own)(b"")
    for closed in (method, unary(channel), unary(unused)):
        with pytest.raises(expected.type, match=str(expected.value)):
            await closed(b"")
    await channel.close()


async def test_a_pool_that_is_dropped_goes_away(peer: Peer) -> None:
    channel = aio.pooled_channel(peer.target, pool=OFTEN)
    method = unary(channel)
    gone = weakref.ref(channel)
    del channel
    gc.collect()
    assert await method(b"", timeout=PATIENCE) == b""
    assert gone() is not None  # its method has it
    del method
    gc.collect()
    await until(lambda: gone() is None)
    probes = len(peer.probes)
    await asyncio.sleep(0.5)  # sleep: nobody probes any more
    assert len(peer.probes) == probes


async def test_credentials_make_it_a_secure_channel(peer: Peer) -> None:
    async with pooled(peer.target, credentials=grpc.ssl_channel_credentials()) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary(channel)(b"", timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
