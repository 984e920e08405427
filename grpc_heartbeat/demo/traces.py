"""Spans as they were received, put together into trees. Pure.

A span whose parent is not among the received spans is an orphan: a tracing backend shows it as a second root with a warning.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Attribute: TypeAlias = "str | int | float | bool"

BEAT = "grpc_heartbeat.v1.Heartbeat/Keepalive beat"
LABELS = ("service.name", "heartbeat.type", "upstream.zone")
"""What every span of a beat must say."""


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One span. Ids are hexadecimal, instants nanoseconds since the epoch; ``parent_id`` is ``""`` for a root."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    service: str
    zone: str
    start: int
    end: int
    failed: bool = False
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    @property
    def millis(self) -> float:
        """How long it took."""
        return (self.end - self.start) / 1e6


@dataclass(frozen=True, slots=True)
class Branch:
    """A span and what it caused, in the order in which that began."""

    span: SpanRecord
    children: tuple[Branch, ...] = ()

    def walk(self) -> Iterator[SpanRecord]:
        """Yield the spans, parents first."""
        yield self.span
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class Trace:
    """The spans of one trace id: ``roots`` have no parent, ``orphans`` have one that was not received."""

    trace_id: str
    roots: tuple[Branch, ...]
    orphans: tuple[Branch, ...]

    def spans(self) -> list[SpanRecord]:
        """Return all spans, parents first."""
        return [span for branch in (*self.roots, *self.orphans) for span in branch.walk()]

    @property
    def root(self) -> SpanRecord:
        """The earliest span without a received parent."""
        return min((branch.span for branch in (*self.roots, *self.orphans)), key=lambda span: span.start)

    @property
    def beat(self) -> bool:
        """Whether this is the trace of a heartbeat's beat."""
        return self.root.name == BEAT


def grow(spans: Iterable[SpanRecord]) -> list[Trace]:
    """Return the traces that ``spans`` amount to, in the order in which they began."""
    by_trace: dict[str, dict[str, SpanRecord]] = defaultdict(dict)
    for span in spans:
        by_trace[span.trace_id][span.span_id] = span
    return sorted((_grow(trace_id, known) for trace_id, known in by_trace.items()), key=lambda trace: trace.root.start)


def _grow(trace_id: str, known: Mapping[str, SpanRecord]) -> Trace:
    below: dict[str, list[SpanRecord]] = defaultdict(list)
    for span in sorted(known.values(), key=lambda span: span.start):
        below[span.parent_id].append(span)

    def branch(span: SpanRecord) -> Branch:
        return Branch(span, tuple(branch(child) for child in below[span.span_id]))

    missing = [parent for parent in below if parent and parent not in known]
    orphans = tuple(branch(span) for parent in missing for span in below[parent])
    return Trace(trace_id, tuple(branch(span) for span in below[""]), orphans)


def unlabelled(spans: Iterable[SpanRecord]) -> list[SpanRecord]:
    """Return the spans of beats that lack one of ``LABELS``."""
    return [span for span in spans if span.name == BEAT and not all(span.attributes.get(label) for label in LABELS)]


def answered(trace: Trace) -> bool:
    """Whether a beat's client says that its echo came."""
    return trace.root.attributes.get("heartbeat.outcome") == "acked"


def missed(trace: Trace) -> bool:
    """Whether a beat's client says that its echo did not come in time."""
    return trace.root.attributes.get("heartbeat.outcome") == "missed"


def complete(trace: Trace) -> bool:
    """Whether a beat's trace is a client's span with one server's span below it."""
    kinds = [span.kind for span in trace.spans()]
    return kinds == ["client", "server"] and not trace.orphans
