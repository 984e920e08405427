"""W3C trace context in 26 bytes: version, trace id, span id, flags. Half the size of ``traceparent`` and needs no parsing.

Layout: version (1 byte, 0), trace id (16 bytes, big endian, not zero), span id (8 bytes, not zero), flags (1 byte).
"""

from __future__ import annotations

from dataclasses import dataclass

LENGTH = 26
VERSION = 0

_NO_TRACE_ID = bytes(16)
_NO_SPAN_ID = bytes(8)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span as its children see it. Ids are never zero; ``flags`` bit 0 says "sampled"."""

    trace_id: int
    span_id: int
    flags: int = 0


def encode(context: TraceContext) -> bytes:
    """Return the 26 bytes of ``context``.

    Raises:
        OverflowError: an id or the flags do not fit.
    """
    return b"".join(
        (
            bytes((VERSION,)),
            context.trace_id.to_bytes(16, "big"),
            context.span_id.to_bytes(8, "big"),
            context.flags.to_bytes(1, "big"),
        )
    )


def valid(data: bytes) -> bool:
    """Return whether ``data`` is a context: not if it has another length or version, or a zero id."""
    return (
        len(data) == LENGTH
        and data[0] == VERSION
        and not data.startswith(_NO_TRACE_ID, 1)
        and not data.startswith(_NO_SPAN_ID, 17)
    )


def decode(data: bytes) -> TraceContext | None:
    """Return the context in ``data``, or ``None`` if it is not valid: strangers send these."""
    if not valid(data):
        return None
    return TraceContext(int.from_bytes(data[1:17], "big"), int.from_bytes(data[17:25], "big"), data[25])


def unsampled(data: bytes) -> bool:
    """Return whether ``data`` is a context that is marked as not sampled."""
    return len(data) == LENGTH and data[0] == VERSION and not data[25] & 1
