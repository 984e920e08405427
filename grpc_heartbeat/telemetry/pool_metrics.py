"""Metrics of pools: how their connections are, how often one was reused or replaced, what probes found.

The pools count for their own sake. Here they are looked at when somebody reads the metrics, and summed up by their targets.
"""

from __future__ import annotations

from collections.abc import Iterator

from grpc_heartbeat.channel.pools import all_pools
from grpc_heartbeat.core.labels import BoundedLabel
from grpc_heartbeat.core.pool import PoolSnapshot
from grpc_heartbeat.telemetry.grown import Counts, Grown
from grpc_heartbeat.telemetry.instruments import Instruments, Labels

MOST_TARGETS = 50

CALLS = ("reused", "new")
PROBES = ("answered", "silent", "put_off")


class PoolMetrics:
    """Looks at the pools."""

    def __init__(self, instruments: Instruments) -> None:
        self._target = BoundedLabel(MOST_TARGETS)
        self._grown = Grown()
        instruments.gauge(
            "grpc_heartbeat.pool.connections", "{connection}", "Connections of pools, by state.", self._connections
        )
        instruments.counter(
            "grpc_heartbeat.pool.calls", "{call}", "Calls of pools, by what connection they found.", self._calls
        )
        instruments.counter(
            "grpc_heartbeat.pool.rebuilds", "{connection}", "Connections of pools that replaced others.", self._rebuilds
        )
        instruments.counter("grpc_heartbeat.pool.probes", "{probe}", "Probes of pools, by outcome.", self._probes)

    def _connections(self) -> Iterator[tuple[Labels, float]]:
        found: dict[str, dict[str, int]] = {}
        for pool in all_pools():
            if not pool.closed:
                sums = found.setdefault(self._target(pool.target), {})
                for state, count in _states(pool.counts()).items():
                    sums[state] = sums.get(state, 0) + count
        for target, sums in found.items():
            for state, count in sums.items():
                yield {"target": target, "state": state}, count

    def _calls(self) -> Iterator[tuple[Labels, float]]:
        for target, counts in self._sums():
            for connection, count in zip(CALLS, counts[:2], strict=True):
                yield {"target": target, "connection": connection}, count

    def _rebuilds(self) -> Iterator[tuple[Labels, float]]:
        for target, counts in self._sums():
            yield {"target": target}, counts[2]

    def _probes(self) -> Iterator[tuple[Labels, float]]:
        for target, counts in self._sums():
            for outcome, count in zip(PROBES, counts[3:], strict=True):
                yield {"target": target, "outcome": outcome}, count

    def _sums(self) -> list[tuple[str, Counts]]:
        """Return for each target: calls that reused a connection, that did not; rebuilds; probes by outcome."""
        pools = ((self._target(pool.target), pool, pool.counts()) for pool in all_pools())
        return self._grown.sums(
            (
                target,
                pool,
                (of.reused, of.calls - of.reused, of.rebuilds, of.answered, of.silent, of.put_off),
            )
            for target, pool, of in pools
        )


def _states(of: PoolSnapshot) -> dict[str, int]:
    return {
        "live": of.live,
        "doubtful": of.size - of.unused - of.live - of.stale,
        "stale": of.stale,
        "unused": of.unused,
        "retired": of.retired,
    }
