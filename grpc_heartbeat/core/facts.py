"""Facts about a limit that ended a call early: which layer, how long, and who had set it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Layer = Literal["connect", "header", "idle", "write", "total", "scope", "proxy", "breaker"]
"""Which limit ended a call.

``connect``: no connection in time. ``header``: connected, but the server did not accept the call in time. ``idle``: no
message came in time while the application waited for one. ``write``: a message was not taken in time. ``total``: the whole
budget was spent, the call's own or, where the source is ``server``, one of the server's. ``scope``: the inbound RPC on whose
behalf it was made ended first. ``proxy``: a proxy on the way gave up waiting for the server, by a limit of its own.
``breaker``: the channel's heartbeats had found the peer dead or stuck.
"""


@dataclass(frozen=True, slots=True)
class TimeoutFacts:
    """Why a call ended early.

    Attributes:
        layer: The layer that ended it.
        limit: That layer's limit in seconds; ``None`` when it is not known (``proxy``, a source of ``server``), or when there
            is none: the inbound RPC was cancelled, or the call did not wait for the ``breaker``.
        elapsed: Seconds that the layer had taken when the call ended; for ``total``, ``scope``, ``proxy`` and ``breaker`` from
            the call's start.
        source: Where the limit came from: ``explicit`` (the call's own ``timeout=`` or ``timeouts(…)`` around it),
            ``policy:<name>`` (the channel's ``timeouts=``; the name is the entry's), ``adaptive:policy:<name>`` (the same,
            shortened by ``AdaptiveTimeouts``), ``inherited:<method>`` (what was left of
            an inbound RPC's budget), ``limit`` (``deadline.limit``), ``proxy``, ``breaker``, or ``server`` (the peer said
            DEADLINE_EXCEEDED before any limit of this side was spent).
        connectivity: The channel's state when the call ended, such as ``"READY"``, if it was known.
        last_error: What the last attempt to connect failed with, if that was known.
    """

    layer: Layer
    limit: float | None
    elapsed: float
    source: str
    connectivity: str | None = None
    last_error: str | None = None
