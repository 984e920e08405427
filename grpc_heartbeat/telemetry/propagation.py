"""A span's context in gRPC's metadata, as the application's propagators write and read it.

The W3C's format, which is OpenTelemetry's default, is written and read here where that is all there is to do: no trace state,
no baggage, and no propagator that wants something else. It is what nearly every call has, and the general way costs twice as
much. Everything else, malformed entries included, is left to the propagators.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags

_PARENT = "traceparent"
_ALSO = frozenset(("tracestate", "baggage"))
_FORMAT = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

_known: tuple[Any, bool] = (None, False)


def with_trace(metadata: Any, span: Span) -> list[tuple[str, Any]]:
    """Return ``metadata`` with the context of ``span`` added, in place of an older one.

    gRPC's metadata may hold a key more than once, and everything else in it stays.
    """
    context = span.get_span_context()
    if _w3c_only() and context.is_valid and not context.trace_state and not baggage.get_all():
        kept = [(key, value) for key, value in metadata or () if key != _PARENT]
        kept.append((_PARENT, f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"))
        return kept
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    added = [(key.lower(), value) for key, value in carrier.items()]
    replaced = {key for key, _ in added}
    return [*((key, value) for key, value in metadata or () if key not in replaced), *added]


def parent_of(metadata: Any) -> Context:
    """Return the context that a client has sent in ``metadata``; of a key that comes more than once, the first counts."""
    if _w3c_only():
        parent = None
        for key, value in metadata or ():
            if key == _PARENT:
                parent = value if parent is None else parent
            elif key in _ALSO:
                break
        else:
            if parent is None:
                return Context()
            span = _span(parent)
            if span is not None:
                return trace.set_span_in_context(span, Context())
    carrier: Mapping[str, str] = {key: value for key, value in reversed(list(metadata or [])) if isinstance(value, str)}
    return propagate.extract(carrier)


def _span(parent: Any) -> NonRecordingSpan | None:
    found = _FORMAT.fullmatch(parent) if isinstance(parent, str) else None
    if found is None:
        return None
    context = SpanContext(int(found[1], 16), int(found[2], 16), True, TraceFlags(int(found[3], 16)))
    return NonRecordingSpan(context) if context.is_valid else None


def _w3c_only() -> bool:
    """Whether the application's propagators write and read nothing but the W3C's entries."""
    global _known
    textmap = propagate.get_global_textmap()
    known, answer = _known
    if known is not textmap:
        answer = textmap.fields == _ALSO | {_PARENT}
        _known = textmap, answer
    return answer
