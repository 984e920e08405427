"""The metrics of pools, from real ones."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

import grpc_heartbeat
from grpc_heartbeat import PoolPolicy, aio, telemetry
from grpc_heartbeat.heartbeat.calls import PING
from grpc_heartbeat.telemetry.pool_metrics import MOST_TARGETS
from tests.heartbeat.relay import Relay
from tests.peers import PATIENCE, path, wait_until
from tests.pool.conftest import Peer
from tests.telemetry.scrape import Meters, labels_of

CONNECTIONS, CALLS = "grpc_heartbeat.pool.connections", "grpc_heartbeat.pool.calls"
REBUILDS, PROBES = "grpc_heartbeat.pool.rebuilds", "grpc_heartbeat.pool.probes"
OFTEN = PoolPolicy(size=3, idle=0.4, timeout=0.15)


@pytest.fixture
def meters() -> Iterator[Meters]:
    gc.collect()  # pools of earlier tests
    meters = Meters()
    with telemetry.instrument(meter_provider=meters.provider):
        yield meters
    meters.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer(PING)
    yield peer
    peer.close()


def states(meters: Meters, target: str) -> dict[str, float]:
    return {dict(point.attributes)["state"]: point.value for point in meters.points(CONNECTIONS, target=target)}


def test_calls_connections_probes_and_rebuilds_are_counted_by_target(meters: Meters, peer: Peer) -> None:
    with Relay(peer.target) as relay:
        of = {"target": relay.target}
        with grpc_heartbeat.pooled_channel(relay.target, pool=OFTEN) as channel:
            call = channel.unary_unary(path("UnaryUnary"))
            assert states(meters, relay.target) == {"unused": 3, "live": 0, "doubtful": 0, "stale": 0, "retired": 0}
            call(b"a", timeout=PATIENCE)
            call(b"b", timeout=PATIENCE)
            assert states(meters, relay.target) == {"unused": 2, "live": 1, "doubtful": 0, "stale": 0, "retired": 0}
            assert meters.value(CALLS, connection="new", **of) == 1
            assert meters.value(CALLS, connection="reused", **of) == 1
            wait_until(lambda: meters.value(PROBES, outcome="answered", **of) >= 2)
            assert (meters.value(REBUILDS, **of), meters.value(PROBES, outcome="silent", **of)) == (0, 0)
            relay.freeze()
            wait_until(lambda: states(meters, relay.target)["stale"] == 1)
            assert meters.value(PROBES, outcome="silent", **of) == 1
            relay.thaw()
            call(b"c", timeout=PATIENCE)
            assert meters.value(REBUILDS, **of) == 1
            counted = [meters.value(name, **of) for name in (CALLS, REBUILDS)]
        assert meters.points(CONNECTIONS, **of) == []
        del channel, call
        gc.collect()
        assert [meters.value(name, **of) for name in (CALLS, REBUILDS)] == counted == [3, 1]


async def test_pools_of_a_loop_are_looked_at_from_the_thread_that_reads(meters: Meters, peer: Peer) -> None:
    async with aio.pooled_channel(peer.target, pool=PoolPolicy(size=2)) as channel:
        call = channel.unary_unary(path("UnaryUnary"))
        waiting = [asyncio.ensure_future(call(b"wait", timeout=PATIENCE)) for _ in range(2)]
        await asyncio.to_thread(wait_until, lambda: len(peer.peers) == 2)
        assert await asyncio.to_thread(states, meters, peer.target) == {
            "unused": 0,
            "live": 0,
            "doubtful": 2,
            "stale": 0,
            "retired": 0,
        }
        peer.go.set()
        await asyncio.gather(*waiting)
        assert await asyncio.to_thread(meters.value, CALLS, target=peer.target, connection="new") == 2
        assert (await asyncio.to_thread(states, meters, peer.target))["live"] == 2


def test_targets_beyond_the_bound_share_one_name(meters: Meters) -> None:
    channels = [grpc_heartbeat.pooled_channel(f"host-{number}:1") for number in range(MOST_TARGETS + 3)]
    targets = {labels["target"] for labels in labels_of(meters.points(CONNECTIONS))}
    assert len(targets) == MOST_TARGETS + 1
    assert meters.value(CONNECTIONS, target="other", state="unused") == 3 * PoolPolicy().size
    for channel in channels:
        channel.close()


def test_two_pools_of_one_target_are_summed_up(meters: Meters, peer: Peer) -> None:
    channels = [grpc_heartbeat.pooled_channel(peer.target, pool=PoolPolicy(size=size)) for size in (2, 3)]
    for channel in channels:
        channel.unary_unary(path("UnaryUnary"))(b"a", timeout=PATIENCE)
    assert states(meters, peer.target) == {"unused": 3, "live": 2, "doubtful": 0, "stale": 0, "retired": 0}
    assert meters.value(CALLS, target=peer.target) == 2
    for channel in channels:
        channel.close()


def test_nobody_looks_at_pools_once_metrics_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    meters = Meters()
    with telemetry.instrument(meter_provider=meters.provider):
        pass
    with grpc_heartbeat.pooled_channel("host:1") as channel:
        monkeypatch.setattr(channel.pool, "counts", lambda: pytest.fail("the pool was looked at"))
        assert meters.points(CONNECTIONS) == []
        assert meters.points(CALLS) == []
    meters.close()
