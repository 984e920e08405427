"""What a server says about the heartbeat streams that it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Engine: TypeAlias = Literal["completions", "threads", "asyncio joined", "asyncio"]
"""How a server moves its streams.

``completions``: by completion events of grpcio's server thread, without a thread per stream. ``threads``: by public API alone,
a thread each. ``asyncio joined``: a coroutine each, an answer and the wait for the next frame in one operation. ``asyncio``:
a coroutine each, by public API alone.
"""


@dataclass(frozen=True, slots=True)
class HeldReport:
    """What the heartbeat streams of one server do.

    Args:
        engine: How they are moved.
        streams: How many there are now.
        opened: How many were taken in so far.
        refused: How many were refused: too many, in all or of one host, or too much metadata.
        cut: How many were ended because their client fell silent, took no answers or broke a limit.
        oversized: How many frames were too large.
        unexpected: How many frames made no sense, on streams that are over.
    """

    engine: Engine
    streams: int
    opened: int
    refused: int
    cut: int
    oversized: int
    unexpected: int
