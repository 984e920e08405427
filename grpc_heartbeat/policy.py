"""Time-outs per channel, service and method: which limits hold for a call."""

from __future__ import annotations

from collections.abc import Mapping

from grpc_heartbeat.config import Timeouts
from grpc_heartbeat.core.limits import PARTS, Limits, Part


class TimeoutPolicy:
    """Limits for a channel's calls, by the longest match."""

    def __init__(self, default: Timeouts | None = None) -> None:
        self.default = default or Timeouts()

    def limits(self, method: str, *, streams: bool) -> Limits:
        """Return the limits of ``method``; ``streams`` says that it streams responses."""
        parts: Mapping[Part, float | None] = {part: getattr(self.default, part) for part in PARTS}
        limits = Limits().changed(parts, "policy:default")
        return limits.changed({"total": None}, "policy:default") if streams else limits
