"""What a server's interceptor tells its observers about inbound RPCs. Durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass

from grpc_heartbeat.core.events import Event


@dataclass(frozen=True, slots=True)
class RpcEvent(Event):
    """Something that happened to an inbound RPC of ``method``."""

    method: str


@dataclass(frozen=True, slots=True)
class RpcStarted(RpcEvent):
    """A handler starts: ``left`` of its budget (``None`` without one), ``queue_delay`` after the RPC arrived."""

    left: float | None
    queue_delay: float


@dataclass(frozen=True, slots=True)
class RpcEnded(RpcEvent):
    """A handler has let go after ``elapsed``, with ``left`` of the budget; ``reason`` says why it was not wanted any more."""

    left: float | None
    elapsed: float
    reason: str | None


@dataclass(frozen=True, slots=True)
class RpcRejected(RpcEvent):
    """An RPC had less ``left`` than the ``minimum`` useful budget; it was rejected if ``enforced``, else let in."""

    left: float
    minimum: float
    enforced: bool


@dataclass(frozen=True, slots=True)
class RpcExpired(RpcEvent):
    """An RPC was rejected because its budget was spent when its handler should have started."""


@dataclass(frozen=True, slots=True)
class RpcOverran(RpcEvent):
    """An RPC was ended because it took longer than the server's own ``limit``, which ``source`` gave."""

    limit: float
    source: str


@dataclass(frozen=True, slots=True)
class RpcAccepted(RpcEvent):
    """A handler that was still running had its RPC accepted by early initial metadata."""
