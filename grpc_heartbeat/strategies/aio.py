"""Probers on an event loop; the names are those of ``grpc_heartbeat.strategies``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Any

from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.events import Observers
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot
from grpc_heartbeat.strategies import registry
from grpc_heartbeat.strategies.heartbeat import StrategyHeartbeat
from grpc_heartbeat.strategies.strategy import Factory

__all__ = ["Prober"]


class Prober:
    """Asks one peer, over a protocol of your choice, whether it is there, until it is closed.

    It beats, judges, connects anew after failures and is traced as heartbeats are: see docs/heartbeat.md. Use it as an
    asynchronous context manager, or call :meth:`start` and :meth:`close`.

    Args:
        strategy: The name of one that ``strategies.get`` knows, or a factory of your own.
        target: The peer, as the strategy writes it.
        policy: When to beat and when to give up. Default: ``HeartbeatPolicy()``; its ``fallback`` does not matter here.
        identity: Who this process is. Default: ``Identity()``.
        upstream: Who the peer is: its ``service`` and ``zone`` are labels of spans and metrics (``upstream.zone``). Default:
            what the peer says of itself, if its protocol has words for that (``grpc``).
        options: Further arguments for the strategy, such as ``{"roots": pem}``.
        tracer_provider: OpenTelemetry's. Default: the global one.

    Attributes:
        observers: They hear each event on the loop: ``BeatSent``, ``BeatAcked`` with the round trip in seconds, ``BeatMissed``,
            ``StreamFailed`` with the reason, ``VerdictChanged``, and what else is in ``grpc_heartbeat.events``. A *stream* is a
            connection here.

    Raises:
        MissingExtraError: the strategy's library is not installed.
        UnknownStrategyError: no strategy has that name.
        TypeError, ValueError: what the strategy says of target and options.
    """

    def __init__(
        self,
        strategy: str | Factory,
        target: str,
        policy: HeartbeatPolicy | None = None,
        *,
        identity: Identity | None = None,
        upstream: Identity | None = None,
        options: Mapping[str, Any] | None = None,
        tracer_provider: Any = None,
    ) -> None:
        factory = registry.get(strategy) if isinstance(strategy, str) else strategy
        self.strategy = strategy if isinstance(strategy, str) else getattr(factory, "__name__", type(factory).__name__)
        self.target = target
        self._heartbeat = StrategyHeartbeat(
            self.strategy,
            partial(factory, **options) if options else factory,
            target,
            policy,
            identity,
            upstream,
            target,
            tracer_provider,
        )
        self.observers: Observers = self._heartbeat.observers

    def start(self) -> None:
        """Begin, on the running loop. Calling it again, or after :meth:`close`, does nothing.

        Raises:
            RuntimeError: no loop is running.
        """
        self._heartbeat.start()

    async def close(self) -> None:
        """Give up the connection. Takes a second at the most; idempotent."""
        await self._heartbeat.close()

    def snapshot(self) -> HeartbeatSnapshot:
        """Return what is known about the peer now; from any thread."""
        return self._heartbeat.snapshot()

    async def __aenter__(self) -> Prober:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
