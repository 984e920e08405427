"""Spans become trees, and what is missing is found."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.demo import traces
from grpc_heartbeat.demo.traces import BEAT, SpanRecord, grow

LABELS: dict[str, traces.Attribute] = {
    "service.name": "orders",
    "heartbeat.type": "liveness",
    "upstream.zone": "c",
    "heartbeat.outcome": "acked",
}


def span(span_id: str, parent_id: str = "", trace_id: str = "t", start: int = 0, name: str = "call") -> SpanRecord:
    return SpanRecord(trace_id, span_id, parent_id, name, "client", "orders", "b", start, start + 5_000_000)


def beat(trace_id: str = "t") -> list[SpanRecord]:
    client = replace(span("1", trace_id=trace_id, name=BEAT), attributes=LABELS)
    return [client, replace(client, span_id="2", parent_id="1", kind="server", start=1)]


def test_children_stand_below_their_parents_in_the_order_of_their_start() -> None:
    (trace,) = grow(
        [span("late", "root", start=3), span("leaf", "early", start=2), span("early", "root", start=1), span("root")]
    )
    (root,) = trace.roots
    assert [child.span.span_id for child in root.children] == ["early", "late"]
    assert [known.span_id for known in trace.spans()] == ["root", "early", "leaf", "late"]
    assert trace.orphans == ()


def test_a_span_whose_parent_is_missing_is_an_orphan_and_keeps_what_is_below_it() -> None:
    (trace,) = grow([span("root"), span("lost", "never received", start=1), span("below", "lost", start=2)])
    (orphan,) = trace.orphans
    assert [known.span_id for known in orphan.walk()] == ["lost", "below"]
    assert trace.root.span_id == "root"


def test_a_parent_in_another_trace_is_no_parent() -> None:
    first, second = grow([span("root", trace_id="a"), span("child", "root", trace_id="b", start=1)])
    assert (len(first.orphans), len(second.orphans)) == (0, 1)


@given(st.data(), st.lists(st.integers(0, 20), min_size=1, max_size=20))
def test_every_span_is_in_exactly_one_place_and_orphans_are_those_without_their_parent(
    data: st.DataObject, parents: list[int]
) -> None:
    above = [parent % number for number, parent in enumerate(parents, 1)]  # 0 is no span: a root
    made = [span(str(number), str(parent or "")) for number, parent in enumerate(above, 1)]
    kept = data.draw(st.lists(st.sampled_from(made), unique_by=lambda known: known.span_id, min_size=1))
    grown = grow(kept)
    placed = [known.span_id for trace in grown for known in trace.spans()]
    assert sorted(placed) == sorted(known.span_id for known in kept)
    present = {known.span_id for known in kept}
    expected = {known.span_id for known in kept if known.parent_id and known.parent_id not in present}
    assert {branch.span.span_id for trace in grown for branch in trace.orphans} == expected


def test_a_span_that_came_twice_counts_once() -> None:
    (trace,) = grow([span("root"), span("root")])
    assert len(trace.spans()) == 1


def test_a_beat_is_complete_with_one_span_on_each_side() -> None:
    client, server = beat()
    assert [traces.complete(trace) for trace in grow([client, server])] == [True]
    assert [traces.complete(trace) for trace in grow([client])] == [False]
    assert [traces.complete(trace) for trace in grow([server])] == [False]
    assert [traces.complete(trace) for trace in grow([client, server, replace(server, span_id="3")])] == [False]


def test_the_outcome_of_a_beat_is_what_its_client_says() -> None:
    client, _ = beat()
    missed = replace(client, attributes={**LABELS, "heartbeat.outcome": "missed"})
    (acked,), (not_acked,) = grow([client]), grow([missed])
    assert (traces.answered(acked), traces.missed(acked)) == (True, False)
    assert (traces.answered(not_acked), traces.missed(not_acked)) == (False, True)


def test_a_beat_that_lacks_a_label_is_found() -> None:
    client, server = beat()
    bare = replace(server, attributes={**LABELS, "upstream.zone": ""})
    assert traces.unlabelled([client, bare, span("no beat")]) == [bare]
