"""How much: a few seconds' worth by default, the full numbers with ``GRPC_HEARTBEAT_SOAK=full`` in the environment."""

from __future__ import annotations

import os

FULL = os.environ.get("GRPC_HEARTBEAT_SOAK", "") == "full"


def scaled(full: int, usual: int) -> int:
    """Return how many calls to make."""
    return full if FULL else usual
