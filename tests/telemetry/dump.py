"""Reads the spans out of what ``rotel``, an OTLP collector, prints with ``--debug-log-verbosity detailed``."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

_FIELD = re.compile(r"^\s*(Trace ID|Parent ID|ID|Name|Kind|Status code|Start time|End time)\s*: ?(.*)$")
_ATTRIBUTE = re.compile(r"^\s*-> ([\w.]+): (?:Str|Int|Bool|Double)\((.*)\)$")


@dataclass
class Span:
    """One span as the collector printed it; times are Unix nanoseconds."""

    resource: dict[str, str]
    scope: str
    fields: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def trace_id(self) -> str:
        return self.fields["Trace ID"]

    @property
    def span_id(self) -> str:
        return self.fields["ID"]

    @property
    def parent_id(self) -> str:
        return self.fields["Parent ID"]

    @property
    def name(self) -> str:
        return self.fields["Name"]

    @property
    def kind(self) -> str:
        return self.fields["Kind"].removeprefix("SPAN_KIND_").lower()


def spans(log: str) -> list[Span]:
    """Return every span of the log, in the order in which it was received."""
    found: list[Span] = []
    resource: dict[str, str] = {}
    scope = ""
    span: Span | None = None
    target: dict[str, str] | None = None
    for line in log.splitlines():
        if line.startswith("ResourceSpans #"):
            span, resource = None, {}
            target = resource
        elif line.startswith("InstrumentationScope "):
            scope = line.split()[1]
        elif line.startswith("Span #"):
            span, target = Span(resource, scope), None
            found.append(span)
        elif line.startswith("Attributes:") and span is not None:
            target = span.attributes
        elif line.startswith(("Links:", "Events:", "SpanLink #", "SpanEvent #")):
            target = None
        elif attribute := _ATTRIBUTE.match(line):
            if target is not None:
                target[attribute[1]] = attribute[2]
        elif (part := _FIELD.match(line)) and span is not None:
            span.fields.setdefault(part[1], part[2].strip())
    return found


def by_trace(all_spans: list[Span]) -> dict[str, list[Span]]:
    """Return the spans of each trace."""
    traces: dict[str, list[Span]] = defaultdict(list)
    for span in all_spans:
        traces[span.trace_id].append(span)
    return dict(traces)


def orphans(trace: list[Span]) -> list[Span]:
    """Return the spans that Jaeger would warn of: they have a parent that is not in their trace."""
    known = {span.span_id for span in trace}
    return [span for span in trace if span.parent_id and span.parent_id not in known]
