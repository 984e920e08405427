"""Guarded channels: frozen processes, channels of others, scopes, watchers of the state, boards and registries."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

import grpc_heartbeat as hb
from grpc_heartbeat.channel.registry import Peer
from grpc_heartbeat.core.frames import ServingStatus
from grpc_heartbeat.errors import timeout_of
from grpc_heartbeat.events import Verdict
from tests.heartbeat.guarded import BEATS, BREAKER, ECHO, HANG, WAITING, AioGuarded, Business, Guarded, SyncGuarded
from tests.heartbeat.relay import Relay
from tests.heartbeat.test_guarded import BOUND, ended_by_breaker, guard
from tests.peers import OPTIONS, LoopThread, wait_until

__all__ = ["guard"]  # a fixture

Guard = Callable[..., Guarded]

FROZEN = """
import sys, threading
from tests.heartbeat.guarded import Business
server = Business()
print(server.target, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def process() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own."""
    command = [sys.executable, "-c", FROZEN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        yield running, running.stdout.readline().strip()
        running.send_signal(signal.SIGCONT)
        running.kill()


@pytest.mark.slow
def test_a_process_that_is_frozen_and_thaws(guard: Guard, process: tuple[subprocess.Popen[str], str]) -> None:
    running, target = process
    client = guard(target)
    client.up()
    call = client.start(client.ways[0], HANG)
    time.sleep(0.3)  # sleep: the call is to be under way in the other process, which cannot be looked into
    running.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    ended_by_breaker(call.exception(5))
    noticed = time.monotonic() - began
    assert client.heartbeat().verdict is Verdict.DOWN
    wait_until(lambda: client.breaker().generation > 1)
    assert client.heartbeat().verdict is Verdict.DOWN, "a kernel that accepts connections is no transport that answers"
    running.send_signal(signal.SIGCONT)
    began = time.monotonic()
    client.wait(closed=True)
    assert client.call()
    usable = time.monotonic() - began
    print(f"noticed {noticed:.2f} s, usable {usable:.2f} s")
    assert noticed < BOUND
    assert usable < BOUND + 1


def test_a_drain_ends_no_call_though_the_server_is_gone_for_new_ones(guard: Guard) -> None:
    business = Business()
    client = guard(business.target)
    client.up()
    call = client.start(client.ways[0], HANG)
    wait_until(lambda: business.hanging == 1)
    business.board.drain("new version")
    wait_until(lambda: client.heartbeat().state == "draining")
    stopping = business.server.stop(30)
    client.wait(closed=False)
    wait_until(lambda: client.breaker().generation > 1)
    assert not call.done()
    business.released.set()
    assert call.result(5) in (HANG, [HANG])
    stopping.wait(5)
    client.close()
    business.close()


@pytest.mark.slow
def test_a_server_whose_loop_is_blocked_is_stuck_and_its_transport_answers(guard: Guard) -> None:
    serving = LoopThread()
    server, target = serving.run(_serve())
    client = guard(target)
    client.up()
    began = time.monotonic()
    serving.loop.call_soon_threadsafe(time.sleep, 4.0)  # sleep: the blocked loop is the subject
    client.wait(closed=False)
    noticed = time.monotonic() - began
    wait_until(lambda: client.heartbeat().verdict is Verdict.STUCK)
    told = time.monotonic() - began
    assert "but the transport answers" in client.heartbeat().why
    client.wait(closed=True)
    recovered = time.monotonic() - began - 4.0
    print(f"noticed {noticed:.2f} s, told from dead {told:.2f} s, closed {recovered:.2f} s after the loop went on")
    assert noticed < BOUND
    client.close()
    serving.run(server.stop(None))
    serving.close()


async def _serve() -> tuple[grpc.aio.Server, str]:
    server = grpc.aio.server(options=OPTIONS)
    hb.aio.add_to_server(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


def test_workers_that_are_all_stuck(guard: Guard) -> None:
    """Echoes come as ever: the server's heartbeats need no worker. What they say is that work waits."""
    business = Business(workers=2)
    client = guard(business.target)
    client.up()
    began = time.monotonic()
    stuck = [client.start(client.ways[0], HANG) for _ in range(2)]
    wait_until(lambda: client.heartbeat().verdict in (Verdict.OVERLOADED, Verdict.STUCK))
    overloaded = time.monotonic() - began
    wait_until(lambda: client.heartbeat().verdict is Verdict.STUCK)
    noticed = time.monotonic() - began
    for call in stuck:
        ended_by_breaker(call.exception(5))
    assert "work has waited for a worker" in client.error().details()
    print(f"overloaded {overloaded:.2f} s, stuck {noticed:.2f} s")
    assert noticed < BOUND + 1
    wait_until(lambda: client.breaker().generation > 1)
    assert not client.breaker().closed, "its echoes do not close the breaker while they say that"
    business.released.set()
    client.wait(closed=True)
    assert client.call()
    client.close()
    business.close()


def heartbeat_of(channel: Any) -> Any:
    return channel.heartbeat.snapshot()


def wrapped(relay: Relay, policy: hb.BreakerPolicy = BREAKER) -> Any:
    return hb.wrap_channel(grpc.insecure_channel(relay.target), heartbeat=BEATS, breaker=policy)


def test_a_channel_of_somebody_else_fails_fast_and_is_used_again_when_its_connection_is() -> None:
    business = Business()
    with Relay(business.target) as relay, wrapped(relay) as channel:
        wait_until(lambda: channel.heartbeat.snapshot().state == "up")
        method = channel.unary_unary(ECHO)
        hanging = method.future(HANG)
        relay.freeze()
        with pytest.raises(grpc.RpcError) as caught:
            hanging.result(5)
        ended_by_breaker(caught.value)
        with pytest.raises(grpc.RpcError) as caught:
            method(b"x")
        ended_by_breaker(caught.value)
        relay.thaw()
        wait_until(lambda: channel.breaker.closed)
        assert method(b"x") == b"x"
        assert relay.connections == 1
    business.close()


def test_a_call_in_a_scope_keeps_its_deadline_and_ends_with_its_connection(loop: LoopThread) -> None:
    business = Business()
    with Relay(business.target) as relay:
        client = SyncGuarded(loop, relay.target)
        client.up()
        method = client.channel.unary_unary(ECHO)
        with hb.deadline.limit(0.3):
            assert method(b"x") == b"x"
            with pytest.raises(grpc.RpcError) as caught:
                method(HANG)
        facts = timeout_of(caught.value)
        assert facts is not None
        assert (facts.layer, facts.source) == ("total", "limit")
        with hb.deadline.limit(60):
            future = method.future(HANG)
            relay.freeze()
            with pytest.raises(grpc.RpcError) as caught:
                future.result(10)
        ended_by_breaker(caught.value)
        relay.thaw()
        client.close()
    business.close()


def test_an_asyncio_call_in_a_scope_ends_with_its_connection(loop: LoopThread) -> None:
    business = Business()
    with Relay(business.target) as relay:
        client = AioGuarded(loop, relay.target)
        client.up()
        ended_by_breaker(loop.run(_hang_in_a_scope(client.channel, relay)))
        relay.thaw()
        client.close()
    business.close()


async def _hang_in_a_scope(channel: Any, relay: Relay) -> Any:
    method = channel.unary_unary(ECHO)
    with hb.deadline.limit(60):
        assert await method(b"x") == b"x"
        call = method(HANG)
        relay.freeze()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    return caught.value


def test_requests_are_made_in_the_scope_of_the_caller() -> None:
    business = Business()
    seen: list[float | None] = []

    def requests() -> Iterator[bytes]:
        seen.append(hb.deadline.remaining())
        yield b"x"

    with hb.insecure_channel(business.target, heartbeat=BEATS, breaker=BREAKER) as channel:
        collect = channel.stream_unary("/test.Chain/StreamUnary")
        assert collect(requests()) == b"x"
        with hb.deadline.limit(30):
            assert collect(requests()) == b"x"
    assert seen[0] is None
    assert seen[1] is not None
    assert 0 < seen[1] <= 30
    business.close()


def test_what_a_waiting_call_says_before_it_has_started() -> None:
    business = Business()
    with (
        Relay(business.target) as relay,
        hb.insecure_channel(relay.target, heartbeat=BEATS, breaker=WAITING) as channel,
    ):
        wait_until(lambda: heartbeat_of(channel).state == "up")
        relay.freeze()
        wait_until(lambda: not channel.breaker.closed)
        done: list[Any] = []
        call: Any = channel.unary_unary(ECHO).future(b"x", timeout=30)
        call.add_done_callback(done.append)
        over = threading.Event()
        assert call.add_callback(over.set)
        assert (call.is_active(), call.running(), call.done(), call.cancelled()) == (True, True, False, False)
        assert 0 < call.time_remaining() <= 30
        assert call.timeout is None
        assert "waits for its breaker" in repr(call)
        with pytest.raises(grpc.FutureTimeoutError):
            call.result(0.01)
        dropped: Any = channel.unary_stream("/test.Chain/UnaryStream")(b"x")
        ended: list[Any] = []
        dropped.add_done_callback(ended.append)
        assert dropped.cancel()
        assert (dropped.cancelled(), dropped.done(), dropped.code()) == (True, True, grpc.StatusCode.CANCELLED)
        assert ended == [dropped]
        with pytest.raises(grpc.RpcError):
            next(dropped)
        cancelled: Any = channel.unary_unary(ECHO).future(b"x")
        cancelled.cancel()
        with pytest.raises(grpc.FutureCancelledError):
            cancelled.result()
        with pytest.raises(grpc.FutureCancelledError):
            cancelled.exception()
        with hb.deadline.limit(0.1):
            inherited: Any = channel.unary_unary(ECHO).future(b"x")
        with pytest.raises(grpc.RpcError) as caught:
            inherited.result(5)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        relay.thaw()
        assert call.result(10) == b"x"
        assert call.exception() is None
        wait_until(lambda: done == [call])
        assert over.wait(5)
        assert (call.code(), call.done(), call.is_active()) == (grpc.StatusCode.OK, True, False)
    business.close()


def test_what_a_waiting_call_says_before_it_has_started_on_a_loop(loop: LoopThread) -> None:
    business = Business()
    with Relay(business.target) as relay:
        client = AioGuarded(loop, relay.target, WAITING)
        client.up()
        relay.freeze()
        client.wait(closed=False)
        loop.run(_ask_waiting_calls(client.channel, relay))
        client.close()
    business.close()


async def _ask_waiting_calls(channel: Any, relay: Relay) -> None:
    done: list[Any] = []
    call = channel.unary_unary(ECHO)(b"x", timeout=30)
    call.add_done_callback(done.append)
    assert (call.done(), call.cancelled(), call.timeout) == (False, False, None)
    assert 0 < call.time_remaining() <= 30
    assert "waits for its breaker" in repr(call)
    stream = channel.stream_stream("/test.Chain/StreamStream")()
    assert stream.cancel()
    assert not stream.cancel()
    assert (stream.done(), stream.cancelled(), await stream.code()) == (True, True, grpc.StatusCode.CANCELLED)
    with pytest.raises(asyncio.CancelledError):
        await stream.read()
    with pytest.raises(asyncio.InvalidStateError):
        await stream.write(b"x")
    task = asyncio.ensure_future(_await(channel.unary_unary(ECHO)(b"x")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    first, second = (asyncio.ensure_future(_await(call)) for _ in range(2))
    relay.thaw()
    assert await asyncio.wait_for(first, 10) == b"x"
    assert await second == b"x"
    assert await call.code() is grpc.StatusCode.OK
    assert done == [call]


async def _await(call: Any) -> Any:
    return await call


def test_watchers_of_the_state_go_over_to_the_new_connection() -> None:
    business = Business()
    seen: list[grpc.ChannelConnectivity] = []
    with (
        Relay(business.target) as relay,
        hb.insecure_channel(relay.target, heartbeat=BEATS, breaker=BREAKER) as channel,
    ):
        channel.subscribe(seen.append)
        wait_until(lambda: grpc.ChannelConnectivity.READY in seen)
        relay.freeze()
        wait_until(lambda: not channel.breaker.closed)
        relay.thaw()
        wait_until(lambda: channel.breaker.closed)
        wait_until(lambda: seen.count(grpc.ChannelConnectivity.READY) > 1)
        channel.unsubscribe(seen.append)
    business.close()


def test_waiting_for_a_state_on_a_loop_goes_over_to_the_new_connection(loop: LoopThread) -> None:
    business = Business()
    with Relay(business.target) as relay:
        client = AioGuarded(loop, relay.target)
        client.up()
        loop.run(client.channel.channel_ready())
        assert client.channel.get_state() is grpc.ChannelConnectivity.READY
        relay.freeze()
        loop.run(client.channel.wait_for_state_change(grpc.ChannelConnectivity.READY))
        relay.thaw()
        loop.run(client.channel.channel_ready())
        client.wait(closed=True)
        client.close()
    business.close()


class Registry:
    """Remembers what it is told; says no once."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Peer]] = []
        self.reasons: list[str] = []

    def up(self, peer: Peer) -> None:
        self.told.append(("up", peer))

    def down(self, peer: Peer, why: str) -> None:
        self.told.append(("down", peer))
        self.reasons.append(why)


def test_board_and_registry_are_told_once(guard: Guard) -> None:
    business, board, registry = Business(), hb.HealthBoard(), Registry()
    with Relay(business.target) as relay:
        client = guard(relay.target, identity=hb.Identity("checkout"))
        client.up()
        board.follow(client.channel)
        client.channel.breaker.register(registry)
        assert board.status() is ServingStatus.SERVING
        with pytest.raises(ValueError, match="there is a check named"):
            board.follow(client.channel)
        relay.freeze()
        wait_until(lambda: board.status() is ServingStatus.NOT_SERVING)
        (report,) = board.checks().values()
        assert report.error
        wait_until(lambda: client.breaker().generation > 2)
        relay.thaw()
        wait_until(lambda: board.status() is ServingStatus.SERVING)
        wait_until(lambda: len(registry.told) == 3)
    assert [word for word, _ in registry.told] == ["up", "down", "up"]
    assert {peer.target for _, peer in registry.told} == {relay.target}
    assert registry.told[0][1].identity is not None
    assert registry.reasons == [report.error]
    board.close()
    client.close()
    business.close()


def test_a_board_follows_channels_with_a_breaker_only() -> None:
    with hb.insecure_channel("127.0.0.1:1") as channel, pytest.raises(TypeError, match="with breaker="):
        hb.HealthBoard().follow(channel)


@pytest.mark.parametrize("face", [hb, hb.aio])
def test_a_breaker_needs_heartbeats_and_a_policy(face: Any) -> None:
    with pytest.raises(ValueError, match="breaker= needs heartbeat="):
        face.insecure_channel("127.0.0.1:1", breaker=BREAKER)
    with pytest.raises(TypeError, match="breaker must be a BreakerPolicy, not bool"):
        face.insecure_channel("127.0.0.1:1", heartbeat=BEATS, breaker=True)


def test_a_guarded_channel_that_is_dropped_leaves_nothing(loop: LoopThread) -> None:
    business = Business()
    channel: Any = hb.insecure_channel(business.target, heartbeat=BEATS, breaker=BREAKER)
    heartbeat = channel.heartbeat
    wait_until(lambda: heartbeat.snapshot().state == "up")
    del channel
    wait_until(lambda: heartbeat.snapshot().state == "closed")
    business.close()
