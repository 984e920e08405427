"""The quick way to write and read a span's context says what OpenTelemetry's propagators say, or leaves it to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.propagators.textmap import TextMapPropagator, default_getter, default_setter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from grpc_heartbeat.telemetry.propagation import parent_of, with_trace

KEY = "traceparent"
HEX = "0123456789abcdef"


def span(trace_id: int, span_id: int, flags: int = 1, state: TraceState | None = None) -> NonRecordingSpan:
    return NonRecordingSpan(SpanContext(trace_id, span_id, False, TraceFlags(flags), state))


def theirs(metadata: list[tuple[str, str]]) -> SpanContext:
    found = propagate.extract(dict(metadata))
    return trace.get_current_span(found).get_span_context()


def ours(metadata: list[tuple[str, Any]]) -> SpanContext:
    return trace.get_current_span(parent_of(metadata)).get_span_context()


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))
def test_what_is_written_is_what_they_write_and_is_read_back(trace_id: int, span_id: int, flags: int) -> None:
    sent = span(trace_id, span_id, flags)
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(sent))
    written = with_trace((), sent)
    assert dict(written) == carrier
    read = ours(written)
    assert (read.trace_id, read.span_id, read.trace_flags, read.is_remote) == (trace_id, span_id, flags, True)


@given(
    st.one_of(
        st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True),
        st.from_regex(r"[0-9a-fA-F]{2}-[0-9a-fA-F]{32}-[0-9a-fA-F]{16}-[0-9a-f]{2}(-x)?", fullmatch=True),
        st.text(alphabet=HEX + "-", max_size=60),
        st.just("00-" + "0" * 32 + "-" + "1" * 16 + "-01"),
    )
)
def test_whatever_a_stranger_sends_is_read_as_they_read_it(parent: str) -> None:
    found, expected = ours([(KEY, parent)]), theirs([(KEY, parent)])
    assert (found.trace_id, found.span_id, found.trace_flags) == (
        expected.trace_id,
        expected.span_id,
        expected.trace_flags,
    )


def test_without_a_parent_there_is_none() -> None:
    for metadata in ((), None, [("user-agent", "x")], [(KEY + "-bin", b"\x00")]):
        assert not ours(metadata or []).is_valid


def test_the_first_of_several_counts() -> None:
    first, second = with_trace((), span(1, 2)), with_trace((), span(3, 4))
    assert ours([*first, *second]).trace_id == 1


def test_trace_state_and_baggage_go_both_ways() -> None:
    token = context.attach(baggage.set_baggage("who", "me"))
    try:
        written = with_trace([("k", "v")], span(1, 2, state=TraceState([("vendor", "x")])))
    finally:
        context.detach(token)
    assert ("tracestate", "vendor=x") in written
    assert ("baggage", "who=me") in written
    assert ours(written).trace_state.get("vendor") == "x"
    assert baggage.get_baggage("who", parent_of(written)) == "me"


@pytest.fixture
def own_format() -> Iterator[None]:
    """An application whose propagator is another."""

    class Own(TextMapPropagator):
        @property
        def fields(self) -> set[str]:
            return {"own"}

        def inject(self, carrier: Any, context: Any = None, setter: Any = default_setter) -> None:
            setter.set(carrier, "own", f"{trace.get_current_span(context).get_span_context().trace_id:x}")

        def extract(self, carrier: Any, context: Any = None, getter: Any = default_getter) -> Any:
            (value,) = getter.get(carrier, "own") or ["0"]
            return trace.set_span_in_context(span(int(value, 16), 9), context)

    before = propagate.get_global_textmap()
    propagate.set_global_textmap(Own())
    yield
    propagate.set_global_textmap(before)


@pytest.mark.usefixtures("own_format")
def test_an_applications_own_propagator_is_used() -> None:
    with_trace((), span(1, 1))
    written = with_trace([("own", "old"), ("k", "v")], span(0xABC, 2))
    assert sorted(written) == [("k", "v"), ("own", "abc")]
    assert ours(written).trace_id == 0xABC


def test_after_it_the_default_is_used_again() -> None:
    assert dict(with_trace((), span(1, 2)))[KEY].startswith("00-")
    provider = TracerProvider(shutdown_on_exit=False)
    started = provider.get_tracer("test").start_span("x")
    assert ours(with_trace((), started)).span_id == started.get_span_context().span_id
    started.end()
    provider.shutdown()
