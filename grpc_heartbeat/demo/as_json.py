"""The facts as one JSON object, for programs. Durations are seconds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from grpc_heartbeat.demo.facts import Facts, Traces
from grpc_heartbeat.demo.traces import missed


def as_json(facts: Facts) -> dict[str, Any]:
    """Return the facts as what ``json.dumps`` takes. Spans that the demo's own receiver got are among them."""
    return {
        "ok": facts.ok,
        "seconds": facts.seconds,
        "flow": facts.flow and asdict(facts.flow),
        "cancel": facts.cancel and asdict(facts.cancel),
        "freeze": facts.freeze and asdict(facts.freeze),
        "traces": facts.traces and _traces(facts.traces),
        "checks": [asdict(check) for check in facts.checks],
    }


def _traces(traces: Traces) -> dict[str, Any]:
    return {
        "endpoint": traces.endpoint or None,
        "ended": traces.ended,
        "delivered": traces.delivered,
        "received": traces.received,
        "traces": len(traces.traces),
        "beats": len(traces.beats),
        "missed": sum(map(missed, traces.beats)),
        "orphans": traces.orphans,
        "spans": [asdict(span) for span in traces.spans],
    }
