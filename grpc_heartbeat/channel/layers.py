"""Which limits beside the total are watched for the calls of one method."""

from __future__ import annotations

from typing import Generic, TypeVar

from grpc_heartbeat.core.limits import Limits, Part
from grpc_heartbeat.policy import TimeoutPolicy


class Layers:
    """Which limits beside the total a flight watches, worked out once for a method (or for one call's overrides).

    Args:
        limits: The method's.
        without: Parts that mean nothing for this kind of call.
        fixed: Whether many calls share these limits, so that their timers may share a queue.
    """

    __slots__ = ("fixed", "limits", "on_cold", "on_ready", "watched")

    def __init__(self, limits: Limits, without: tuple[Part, ...] = (), fixed: bool = True) -> None:
        parts: dict[Part, float | None] = {part: None for part in without if getattr(limits, part) is not None}
        if parts:
            limits = limits.changed(parts, "none")
        self.limits = limits
        self.on_ready = min((s for s in (limits.header, limits.idle, limits.write) if s is not None), default=None)
        """Seconds after which a call that has a connection is first looked at."""
        self.on_cold = limits.connect
        """The same for one that waits for a connection."""
        self.watched = self.on_ready is not None or self.on_cold is not None
        """Whether there is anything to watch."""
        self.fixed = fixed


LayersT = TypeVar("LayersT", bound=Layers)


class LimitedMethod(Generic[LayersT]):
    """What the multicallables of both stacks have for limits that may change between their calls."""

    _make_layers: type[LayersT]
    _streams = False
    """Whether there is a stream of responses."""

    _without: tuple[Part, ...] = ()
    """Parts of the limits that mean nothing for this kind."""

    _method: str

    def limit(self, limits: Limits) -> None:
        """Have the calls from now on limited so."""
        self._limits = limits
        self._layers = self._make_layers(limits, self._without)

    def policy_changed(self, policy: TimeoutPolicy) -> None:
        """Have the calls from now on limited as ``policy`` says now."""
        self.limit(policy.limits(self._method, streams=self._streams))
