"""The demo's own checks can fail: each fact that is off is seen by one of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from grpc_heartbeat.demo.facts import Cancel, Check, Ending, Facts, Flow, Freeze, Link, StateChange, Traces
from grpc_heartbeat.demo.traces import BEAT, SpanRecord, grow

HOPS: list[tuple[str, float | None]] = [("gateway", 7.9), ("orders", 7.8), ("stock", 7.7)]
LINK = Link("a", "b", 5, 0, 0.001, 0.002)
FLOW = Flow(8.0, 6, 6, HOPS, [LINK] * 3)
INHERITED = {"layer": "total", "source": "inherited:/shop.Orders/Place", "limit": 1.4, "elapsed": 1.4}
EXPIRED = Ending("client", 1.5, "DEADLINE_EXCEEDED", "Deadline Exceeded", None, None)
AT_ORDERS = replace(EXPIRED, service="orders", limit=INHERITED)
STATES = [StateChange(state, 0.1, 1, "") for state in ("late", "down", "up")]
FREEZE = Freeze(3.0, 1.5, [EXPIRED, AT_ORDERS], STATES, 3, 0.2, 0.1)
SERVERS = [replace(EXPIRED, service=name, after=0.01) for name in ("gateway", "orders", "stock")]
LABELS = {"service.name": "orders", "heartbeat.type": "liveness", "upstream.zone": "c"}
ACKED = SpanRecord(
    "a", "1", "", BEAT, "client", "orders", "b", 0, 1, attributes={**LABELS, "heartbeat.outcome": "acked"}
)
ANSWER = replace(ACKED, span_id="2", parent_id="1", kind="server", start=1)
MISSED = replace(ACKED, trace_id="m", failed=True, attributes={**LABELS, "heartbeat.outcome": "missed"})
TRACES = Traces(3, 3, 3, grow([ACKED, ANSWER, MISSED]))


def failed(checks: Iterable[Check]) -> list[str]:
    return [check.text for check in checks if not check.ok]


@pytest.mark.parametrize("good", [FLOW, Cancel(SERVERS), FREEZE, TRACES], ids=lambda good: type(good).__name__)
def test_what_should_happen_passes(good: Flow | Cancel | Freeze | Traces) -> None:
    assert failed(good.checks()) == []


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (replace(FLOW, answered=5), "requests were answered"),
        (replace(FLOW, hops=[("gateway", 8.1), *HOPS[1:]]), "less time left"),
        (replace(FLOW, hops=[*HOPS[:2], ("stock", None)]), "less time left"),
        (replace(FLOW, hops=HOPS[:2]), "less time left"),
        (replace(FLOW, links=[LINK, LINK, replace(LINK, acked=0)]), "every link's beats"),
        (Cancel(SERVERS[:2]), "reached the last hop"),
        (Cancel([*SERVERS[:2], replace(SERVERS[2], after=5.0)]), "reached the last hop"),
        (Cancel(SERVERS[1:]), "every hop stopped"),
        (replace(FREEZE, endings=[AT_ORDERS]), "the client got DEADLINE_EXCEEDED"),
        (replace(FREEZE, endings=[replace(EXPIRED, how="UNAVAILABLE"), AT_ORDERS]), "the client got DEADLINE_EXCEEDED"),
        (replace(FREEZE, endings=[EXPIRED, replace(AT_ORDERS, limit=None)]), "deadline of its own caller"),
        (
            replace(FREEZE, endings=[EXPIRED, replace(AT_ORDERS, limit={**INHERITED, "source": "explicit"})]),
            "own caller",
        ),
        (replace(FREEZE, states=STATES[:1]), "the heartbeat noticed"),
        (replace(FREEZE, states=[STATES[1], STATES[0]]), "the heartbeat noticed"),
        (replace(FREEZE, misses=0), "the heartbeat noticed"),
        (replace(FREEZE, up_after_thaw=None), "up again"),
        (replace(FREEZE, request_after_thaw=None), "answered again"),
        (replace(TRACES, ended=4), "were delivered"),
        (replace(TRACES, ended=0, delivered=0), "were delivered"),
        (replace(TRACES, received=2), "every delivered span was received"),
        (replace(TRACES, traces=grow([ANSWER, MISSED, ACKED, replace(ANSWER, trace_id="o")])), "none is an orphan"),
        (replace(TRACES, traces=grow([ACKED, MISSED])), "a client's and a server's span"),
        (replace(TRACES, traces=grow([ACKED, ANSWER])), "a missed beat"),
        (replace(TRACES, traces=grow([ACKED, ANSWER, replace(MISSED, failed=False)])), "a missed beat"),
        (replace(TRACES, traces=grow([ACKED, replace(ANSWER, attributes={}), MISSED])), "upstream.zone"),
    ],
)
def test_what_is_off_is_seen(bad: Flow | Cancel | Freeze | Traces, text: str) -> None:
    assert any(text in found for found in failed(bad.checks())), failed(bad.checks())


def test_spans_that_went_elsewhere_are_only_counted() -> None:
    elsewhere = Traces(10, 10, 0, [], endpoint="http://collector:4317")
    assert failed(elsewhere.checks()) == []
    assert len(failed(replace(elsewhere, delivered=9).checks())) == 1


def test_a_performance_without_checks_is_no_success() -> None:
    assert not Facts().ok
    assert Facts(checks=[Check("it", True)]).ok
    assert not Facts(checks=[Check("it", True), Check("that", False)]).ok
