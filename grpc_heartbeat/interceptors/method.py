"""What a server interceptor knows about one method. Worked out once, when the method's handler is wrapped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc_heartbeat.core.admission import Counts, InboundLimits

if TYPE_CHECKING:
    from grpc_heartbeat.interceptors.server_state import ServerState

_HEALTH = "/grpc.health.v1.Health/"


class Method:
    """One method of a server.

    Attributes:
        path: Its full name, such as ``"/shop.Orders/Place"``.
        source: How limits that are inherited from its RPCs are named in errors.
        server: What all methods share.
        counts: Where its RPCs are counted.
        limits: The server's own limits, or ``None`` when there is no policy.
        accept_after: Seconds after which its RPCs are accepted early, or ``None``.
        works: Whether its RPCs count as work in flight. Health checks do not: a watch lasts for ever.
        speaks: Whether its handler was seen to send initial metadata of its own. Then its RPCs are never accepted early.
    """

    __slots__ = ("accept_after", "counts", "limits", "path", "server", "source", "speaks", "works")

    def __init__(
        self,
        path: str,
        server: ServerState,
        counts: Counts,
        limits: InboundLimits | None,
        accept_after: float | None,
    ) -> None:
        self.path = path
        self.source = f"inherited:{path}"
        self.server = server
        self.counts = counts
        self.limits = limits
        self.accept_after = accept_after
        self.speaks = False
        self.works = not path.startswith(_HEALTH)

    @property
    def may_overrun(self) -> bool:
        """Whether the server may end RPCs of it by a limit of its own."""
        return self.limits is not None and (self.limits.default is not None or self.limits.maximum is not None)

    def overran(self, limit: float) -> str:
        """Return the details with which an RPC ends that took longer than the server's own ``limit``."""
        source = "its policy" if self.limits is None else self.limits.source
        return f"{self.path} was ended by its server, which allows it {limit:g} s ({source})"
