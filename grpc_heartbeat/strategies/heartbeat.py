"""The heartbeat driver over strategies: what ``AioHeartbeat`` is over channels."""

from __future__ import annotations

from typing import Any

from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.heartbeat import LONGEST_ADVISED_INTERVAL
from grpc_heartbeat.core.heartbeat_events import FailureCause
from grpc_heartbeat.core.levels import Level
from grpc_heartbeat.heartbeat.client_aio import AioHeartbeat
from grpc_heartbeat.heartbeat.streams import Stream
from grpc_heartbeat.strategies.strategy import Factory, Strategy
from grpc_heartbeat.strategies.stream import StrategyStream
from grpc_heartbeat.telemetry.beats import BeatTracing


class StrategyHeartbeat(AioHeartbeat):
    """A heartbeat that opens a strategy's connection where others open a stream.

    Args:
        strategy: The name, for spans.
        factory: Makes one strategy for each connection; called at once for the first, so that a wrong target is told.
        target: What it is given.
        policy, identity, name, tracer_provider: As ``AioHeartbeat`` takes them.
        upstream: Who the peer is, where it does not say so itself.
    """

    def __init__(
        self,
        strategy: str,
        factory: Factory,
        target: str,
        policy: HeartbeatPolicy | None,
        identity: Identity | None,
        upstream: Identity | None,
        name: str,
        tracer_provider: Any,
    ) -> None:
        no_channel: Any = None
        super().__init__(no_channel, policy, identity, name=name, tracer_provider=tracer_provider)
        self._client.begin_at(Level.STRATEGY)
        self._tracing = BeatTracing(self.identity, self.policy.type, tracer_provider, strategy)
        self._factory = factory
        self._target = target
        self._upstream = upstream
        self._first: Strategy | None = factory(target)
        self._asked_for = 0.0

    def failed(self, stream: Stream, why: str, cause: FailureCause) -> None:
        """Take note of the end of a stream that has no status."""
        self._ended(stream, why, cause)

    def asked_for_calm(self) -> None:
        """Beat half as often from the next connection on, as gRPC's clients do after ENHANCE_YOUR_CALM."""
        self._asked_for = min(2 * max(self._asked_for, self.policy.interval), LONGEST_ADVISED_INTERVAL)

    def _use(self, channel: Any) -> None:
        """There is none."""

    def _ready(self) -> bool | None:
        return None

    def _new_stream(self) -> Stream:
        return StrategyStream(self._make, self, self._upstream, self._asked_for)

    def _make(self) -> Strategy:
        first, self._first = self._first, None
        return self._factory(self._target) if first is None else first
