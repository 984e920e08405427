"""Asks a Jaeger for the spans that it received and says what is wrong with them. The first part is pure.

``/api/traces`` answers with what Jaeger's page shows. A span has its parent among its ``references``: the first CHILD_OF of the
same trace, else the first FOLLOWS_FROM of the same trace. Links are FOLLOWS_FROM references too, so one within a trace
could make a parent; our links lead to other traces. What Jaeger cannot put together it says in ``warnings``.
"""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from grpc_heartbeat.demo.facts import Traces
from grpc_heartbeat.demo.traces import Attribute, SpanRecord, grow

MORE_THAN_THERE_ARE = 5_000
_SKEW = (
    "calculated delta"  # two processes' clocks differ by less than a span lasts: Jaeger says so, and no span is wrong
)


def records(answer: Mapping[str, Any]) -> list[SpanRecord]:
    """Return the spans of an answer."""
    return [_record(span, trace["processes"][span["processID"]]) for trace in answer["data"] for span in trace["spans"]]


def warnings(answer: Mapping[str, Any]) -> list[str]:
    """Return what Jaeger found wrong with traces and spans."""
    return [text for trace in answer["data"] for text in _warnings(trace) if _SKEW not in text]


def _warnings(trace: Mapping[str, Any]) -> Iterator[str]:
    for part in (trace, *trace["spans"]):
        yield from part.get("warnings") or ()


def problems(spans: Sequence[SpanRecord], warned: Sequence[str] = ()) -> list[str]:
    """Return what is wrong with the spans of a demo: the demo's own checks that fail, and what only Jaeger can know."""
    count = len(spans)
    checks = Traces(ended=count, delivered=count, received=count, traces=grow(spans)).checks()
    found = [f"not so: {check.text}" for check in checks if not check.ok]
    found += [f"{span.name} of {span.service} ends before it starts" for span in spans if span.end < span.start]
    found += [f"{span.name} of {span.service} is the exporter's" for span in spans if "opentelemetry" in span.name]
    return found + [f"Jaeger warns: {text}" for text in warned]


def _record(span: Mapping[str, Any], process: Mapping[str, Any]) -> SpanRecord:
    tags, resource = _tags(span["tags"]), _tags(process["tags"])
    start = span["startTime"] * 1_000
    return SpanRecord(
        trace_id=span["traceID"],
        span_id=span["spanID"],
        parent_id=_parent(span),
        name=span["operationName"],
        kind=str(tags.get("span.kind", "internal")),
        service=process["serviceName"],
        zone=str(resource.get("cloud.availability_zone", "")),
        start=start,
        end=start + span["duration"] * 1_000,
        failed=tags.get("otel.status_code") == "ERROR" or tags.get("error") is True,
        attributes=tags,
    )


def _parent(span: Mapping[str, Any]) -> str:
    own = [reference for reference in span["references"] if reference["traceID"] == span["traceID"]]
    child_of = [reference for reference in own if reference["refType"] == "CHILD_OF"]
    return str((child_of or own)[0]["spanID"]) if own else ""


def _tags(pairs: Sequence[Mapping[str, Any]] | None) -> dict[str, Attribute]:
    return {pair["key"]: pair["value"] for pair in pairs or ()}


def ask(url: str, services: Sequence[str], since: float) -> dict[str, Any]:
    """Return the traces of ``services`` that began at Unix time ``since`` or later, each once."""
    traces: dict[str, Any] = {}
    for service in services:
        query = {"service": service, "start": int(since * 1e6), "end": _END, "limit": MORE_THAN_THERE_ARE}
        address = f"{url.rstrip('/')}/api/traces?{urllib.parse.urlencode(query)}"
        with _direct.open(address, timeout=10) as response:
            answer = json.load(response)
        assert not answer.get("errors"), answer["errors"]
        traces |= {trace["traceID"]: trace for trace in answer["data"] or ()}
    return {"data": list(traces.values())}


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_END = 32_503_680_000_000_000  # the year 3000, in microseconds
