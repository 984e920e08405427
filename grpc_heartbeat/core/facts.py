"""Facts about a limit that ended a call early: which layer, how long, and who had set it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Layer = Literal["total", "scope"]
"""``total``: the call's whole budget was spent. ``scope``: the inbound RPC on whose behalf it was made ended first."""


@dataclass(frozen=True, slots=True)
class TimeoutFacts:
    """Why a call ended early.

    Attributes:
        layer: The layer that ended it.
        limit: The call's limit in seconds; ``None`` when the inbound RPC was cancelled, which is no limit.
        elapsed: Seconds from the start of the call to its end.
        source: Where the limit came from: ``explicit`` (the call's own ``timeout=``), ``policy`` (the channel's
            ``Timeouts``), ``inherited:<method>`` (what was left of an inbound RPC's budget) or ``limit``
            (``deadline.limit``).
        connectivity: The channel's state when the call ended, if it was known.
    """

    layer: Layer
    limit: float | None
    elapsed: float
    source: str
    connectivity: str | None = None
