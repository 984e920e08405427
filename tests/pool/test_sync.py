"""The pooled channel of the sync stack against real servers."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat import HeartbeatPolicy, PooledChannel, PoolPolicy, Timeouts
from grpc_heartbeat.core.pool import PoolSnapshot
from grpc_heartbeat.core.verdicts import Verdict, VerdictChanged
from grpc_heartbeat.heartbeat.calls import PING
from grpc_heartbeat.heartbeat.server import add_to_server
from tests.heartbeat.relay import Relay
from tests.peers import KINDS, OPTIONS, PATIENCE, path, wait_until
from tests.pool.conftest import CHECK, Peer

RARELY = PoolPolicy()
OFTEN = PoolPolicy(idle=0.4, timeout=0.15)
"""Finds the dead soon."""

PATIENT = PoolPolicy(idle=2.0, timeout=1.0)
"""Probes every second, and takes a peer on a loud machine for alive."""

Pooled = Callable[..., PooledChannel]


@pytest.fixture
def pooled() -> Iterator[Pooled]:
    channels: list[PooledChannel] = []

    def make(target: str, pool: PoolPolicy = RARELY, **options: Any) -> PooledChannel:
        channels.append(grpc_heartbeat.pooled_channel(target, pool=pool, **options))
        return channels[-1]

    yield make
    for channel in channels:
        channel.close()


def unary(channel: grpc.Channel) -> Any:
    return channel.unary_unary(path("UnaryUnary"))


def when(channel: PooledChannel, condition: Callable[[PoolSnapshot], object]) -> PoolSnapshot:
    wait_until(lambda: condition(channel.pool.snapshot()))
    return channel.pool.snapshot()


def call_each(channel: grpc.Channel) -> list[Any]:
    methods = {kind: getattr(channel, name)(path(kind)) for kind, name in zip(KINDS, NAMES, strict=True)}
    return [
        methods["UnaryUnary"](b"a", timeout=PATIENCE),
        methods["UnaryUnary"].with_call(b"b", PATIENCE)[0],
        methods["UnaryUnary"].future(b"c", timeout=PATIENCE).result(),
        list(methods["UnaryStream"](b"d", timeout=PATIENCE)),
        methods["StreamUnary"](iter([b"e", b"f"]), timeout=PATIENCE),
        methods["StreamUnary"].with_call(request_iterator=iter([b"g"]), timeout=PATIENCE)[0],
        methods["StreamUnary"].future(iter([b"h"]), timeout=PATIENCE).result(),
        list(methods["StreamStream"](iter([b"i", b"j"]), timeout=PATIENCE)),
    ]


NAMES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
ANSWERS = [b"a", b"b", b"c", [b"", b"d"], b"ef", b"g", b"h", [b"i", b"j"]]


@pytest.mark.parametrize("limits", [None, Timeouts(total=PATIENCE, connect=PATIENCE, header=PATIENCE, idle=PATIENCE)])
def test_every_kind_of_call_is_made_and_counted_to_its_end(peer: Peer, pooled: Pooled, limits: Timeouts | None) -> None:
    channel = pooled(peer.target, timeouts=limits)
    assert call_each(channel) == ANSWERS
    found = when(channel, lambda snapshot: snapshot.in_flight == 0)
    assert (found.calls, found.connections) == (8, 1)
    assert found.ready in (1, None)  # by public API alone it cannot be seen
    assert found.reuse_rate == 7 / 8


def test_an_intercepted_pool_works_too(peer: Peer, pooled: Pooled) -> None:
    class Nothing(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            return continuation(client_call_details, request)

    channel = pooled(peer.target)
    assert call_each(grpc.intercept_channel(channel, Nothing())) == ANSWERS
    assert when(channel, lambda snapshot: snapshot.in_flight == 0).calls == 8


def test_calls_at_a_time_have_connections_of_their_own(peer: Peer, pooled: Pooled) -> None:
    channel = pooled(peer.target, PoolPolicy(size=3))
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(unary(channel), b"wait", timeout=PATIENCE) for _ in range(6)]
        found = when(channel, lambda snapshot: snapshot.in_flight == 6)
        wait_until(lambda: len(peer.peers) == 6)
        peer.go.set()
        assert [call.result() for call in calls] == [b"wait"] * 6
    assert (found.connections, found.unused) == (3, 0)
    assert sorted(peer.peers.count(one) for one in set(peer.peers)) == [2, 2, 2]
    assert channel.pool.snapshot().in_flight == 0


def test_two_pools_to_one_target_share_nothing(peer: Peer, pooled: Pooled) -> None:
    for _ in range(2):
        assert unary(pooled(peer.target, options=[("grpc.use_local_subchannel_pool", 0)]))(b"") == b""
    assert len(set(peer.peers)) == 2


def test_an_idle_connection_is_probed_and_stays_in_use(peer: Peer, pooled: Pooled) -> None:
    channel = pooled(peer.target, PATIENT)
    unary(channel)(b"", timeout=PATIENCE)
    when(channel, lambda snapshot: snapshot.probes >= 2)
    unary(channel)(b"", timeout=PATIENCE)
    found = channel.pool.snapshot()
    assert set(peer.probes) == {PING}
    assert len(set(peer.peers)) == 1
    assert (found.silent, found.rebuilds, found.reused) == (0, 0, 1)


@pytest.mark.parametrize("services", [(CHECK,), ()])
def test_a_peer_without_heartbeats_is_asked_for_its_health_and_any_answer_will_do(
    pooled: Pooled, services: tuple[str, ...]
) -> None:
    peer = Peer(*services)
    channel = pooled(peer.target, PATIENT)
    unary(channel)(b"", timeout=PATIENCE)
    when(channel, lambda snapshot: snapshot.probes >= 3)
    wait_until(lambda: len(peer.probes) >= 2)
    assert peer.probes[:2] == [PING, CHECK]
    found = channel.pool.snapshot()
    assert (found.silent, found.stale) == (0, 0)
    peer.close()


def test_a_silent_connection_is_replaced_by_the_next_call(peer: Peer, relay: Relay, pooled: Pooled) -> None:
    channel = pooled(relay.target, OFTEN)
    unary(channel)(b"", timeout=PATIENCE)
    relay.forget()
    found = when(channel, lambda snapshot: snapshot.stale == 1)
    assert (found.live, found.rebuilds) == (0, 0)
    assert unary(channel)(b"again", timeout=PATIENCE) == b"again"
    found = channel.pool.snapshot()
    assert (found.rebuilds, found.stale, found.live) == (1, 0, 1)
    assert len(set(peer.peers)) == 2


def test_a_stream_on_a_replaced_connection_is_left_alone(peer: Peer, relay: Relay, pooled: Pooled) -> None:
    channel = pooled(relay.target, PoolPolicy(size=1, idle=0.4, timeout=0.15))
    stream = channel.unary_stream(path("UnaryStream"))(b"endless")
    assert next(stream) == b""
    relay.forget()
    when(channel, lambda snapshot: snapshot.stale == 1)
    assert unary(channel)(b"again", timeout=PATIENCE) == b"again"
    assert stream.is_active()
    assert channel.pool.snapshot().in_flight == 1
    stream.cancel()
    when(channel, lambda snapshot: snapshot.in_flight == 0)


def test_an_unanswered_call_has_its_connection_probed(peer: Peer, pooled: Pooled) -> None:
    channel = pooled(peer.target, PoolPolicy(timeout=0.05))
    unary(channel)(b"", timeout=PATIENCE)
    threading.Event().wait(0.06)  # within the first 50 ms after a sign of life nothing is doubted
    with pytest.raises(grpc.RpcError):
        unary(channel)(b"unavailable", timeout=PATIENCE)
    wait_until(lambda: peer.probes == [PING])
    when(channel, lambda snapshot: snapshot.live == 1)


def test_an_error_that_the_peer_answered_is_a_sign_of_life(peer: Peer, pooled: Pooled) -> None:
    channel = pooled(peer.target)
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel)(b"fail", timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert channel.pool.snapshot().live == 1


def test_a_call_that_is_not_sent_says_nothing_about_its_connection(peer: Peer, pooled: Pooled) -> None:
    channel = pooled(peer.target, PoolPolicy(timeout=0.01))
    unary(channel)(b"", timeout=PATIENCE)
    threading.Event().wait(0.02)
    with pytest.raises(grpc.RpcError):
        unary(channel)(b"", timeout=-1.0)
    assert unary(channel).future(b"", timeout=-1.0).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    found = channel.pool.snapshot()
    assert (found.in_flight, found.live, found.calls) == (0, 1, 3)


@pytest.mark.parametrize("options", [[], [("SingleThreadedUnaryStream", 1)]])
def test_a_stream_that_is_dropped_ends(peer: Peer, pooled: Pooled, options: list[tuple[str, int]]) -> None:
    channel = pooled(peer.target, options=options)
    stream = channel.unary_stream(path("UnaryStream"))(b"endless")
    assert next(stream) == b""
    assert channel.pool.snapshot().in_flight == 1
    del stream
    gc.collect()
    when(channel, lambda snapshot: snapshot.in_flight == 0)


def test_a_stream_that_is_found_dropped_while_the_pool_is_busy_is_counted_later(peer: Peer, pooled: Pooled) -> None:
    """The garbage collector runs in any thread, also in one that is just choosing a connection."""
    channel = pooled(peer.target)
    stream: Any = channel.unary_stream(path("UnaryStream"))(b"hold")
    knot: list[Any] = [stream]
    knot.append(knot)
    assert channel.pool.snapshot().in_flight == 1
    del stream, knot
    with channel.pool._lock:
        finding = threading.Thread(target=gc.collect, daemon=True)
        finding.start()
        finding.join(PATIENCE)
        assert not finding.is_alive()
    when(channel, lambda pool: pool.in_flight == 0)


def test_limits_hold_on_the_members(peer: Peer, pooled: Pooled) -> None:
    channel = pooled(peer.target, timeouts=Timeouts(total=0.05))
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel)(b"wait")
    assert caught.value.timeout.layer == "total"  # type: ignore[attr-defined]  # ours


def test_each_connection_has_a_heartbeat_which_serves_as_its_probe(pooled: Pooled) -> None:
    workers = ThreadPoolExecutor(2)
    server = grpc.server(workers, options=OPTIONS)
    board = add_to_server(server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    channel = pooled(target, PATIENT, heartbeat=HeartbeatPolicy(interval=0.05))
    check = channel.unary_unary(CHECK)
    check(b"", timeout=PATIENCE)
    (member,) = channel.pool.channels()
    assert member.heartbeat is not None
    heartbeat = member.heartbeat
    wait_until(lambda: heartbeat.snapshot().state == "up")
    found = when(channel, lambda snapshot: snapshot.probes >= 2)
    assert (found.silent, found.stale) == (0, 0)
    for after, live in ((Verdict.DOWN, 0), (Verdict.UP, 1)):
        heartbeat.observers.emit(VerdictChanged(0.0, Verdict.UP, after, "as the test has it"))
        assert channel.pool.snapshot().live == live
    channel.close()
    server.stop(None).wait(PATIENCE)
    board.close()
    workers.shutdown()


def test_the_best_connectivity_of_any_connection_is_told(peer: Peer, pooled: Pooled) -> None:
    channel = pooled(peer.target)
    grpc.channel_ready_future(channel).result(PATIENCE)
    told: list[grpc.ChannelConnectivity] = []
    later: list[grpc.ChannelConnectivity] = []
    channel.subscribe(told.append)
    wait_until(lambda: told[-1:] == [grpc.ChannelConnectivity.READY])
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(unary(channel), b"wait", timeout=PATIENCE) for _ in range(2)]
        wait_until(lambda: len(set(peer.peers)) == 2)
        peer.go.set()
        assert [call.result() for call in calls] == [b"wait"] * 2
    channel.subscribe(later.append)
    wait_until(lambda: later == [grpc.ChannelConnectivity.READY])
    assert told == [grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.READY][-len(told) :]
    for listener in (told.append, later.append, print):
        channel.unsubscribe(listener)
    time.sleep(0.3)  # sleep: grpcio's watching threads notice that nobody listens, or closing makes them fail


def test_a_closed_channel_fails_as_grpcs_own(peer: Peer, pooled: Pooled) -> None:
    channel = pooled(peer.target)
    method = unary(channel)
    stream = channel.unary_stream(path("UnaryStream"))(b"endless")
    assert next(stream) == b""
    channel.close()
    assert stream.code() is grpc.StatusCode.CANCELLED
    unused = pooled(peer.target)
    unused.close()
    for call in (method, method.future, unary(channel), unary(unused)):
        with pytest.raises(ValueError, match="closed"):
            call(b"")
    channel.close()


def test_a_pool_that_is_dropped_goes_away(peer: Peer) -> None:
    channel = grpc_heartbeat.pooled_channel(peer.target, pool=OFTEN)
    method = unary(channel)
    gone = weakref.ref(channel)
    del channel
    gc.collect()
    assert method(b"", timeout=PATIENCE) == b""
    assert gone() is not None  # its method has it
    del method
    gc.collect()
    wait_until(lambda: gone() is None)
    probes = len(peer.probes)
    threading.Event().wait(0.5)
    assert len(peer.probes) == probes


@pytest.mark.internal_faults
def test_a_fault_while_probing_is_recorded_and_the_member_is_stale(
    peer: Peer, pooled: Pooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = pooled(peer.target, OFTEN)
    unary(channel)(b"", timeout=PATIENCE)

    def broken(_: object) -> None:
        raise RuntimeError("provoked")

    monkeypatch.setattr(channel.pool, "_probe", broken)
    when(channel, lambda snapshot: snapshot.stale == 1)
    assert unary(channel)(b"again", timeout=PATIENCE) == b"again"


def test_wrong_arguments_are_named_at_once() -> None:
    with pytest.raises(TypeError):
        grpc_heartbeat.pooled_channel("127.0.0.1:1", timeouts=3)  # type: ignore[arg-type]


def test_credentials_make_it_a_secure_channel(peer: Peer, pooled: Pooled) -> None:
    channel = pooled(peer.target, credentials=grpc.ssl_channel_credentials())
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel)(b"", timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
