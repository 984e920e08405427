"""The end of a call in words: what failed, which layer, its limit, where that came from, the channel, and what to do."""

from __future__ import annotations

import pytest

from grpc_heartbeat.core.facts import Layer, TimeoutFacts
from grpc_heartbeat.core.guard import Ending
from grpc_heartbeat.core.limits import UNLIMITED, Limits
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.core.wording import Verdict, ended_by_grpc, ended_by_layer, ended_by_scope, seconds

METHOD = "/shop.Orders/Place"
INBOUND = "/shop.Front/Buy"
POLICY = Limits(total=5.0, sources={"total": "policy:shop.Orders"})


def scope(reason: Reason | None = None) -> Scope:
    made = Scope(1005.0, f"inherited:{INBOUND}", INBOUND)
    if reason is not None:
        made.cancel(reason)
    return made


def grpc_ended(
    status: str,
    elapsed: float,
    details: str = "Deadline Exceeded",
    limits: Limits = POLICY,
    limit: float | None = 5.0,
    of: Scope | None = None,
    connectivity: str | None = None,
    timeout: float | None = None,
) -> Verdict | None:
    return ended_by_grpc(status, details, METHOD, timeout, limits, of, limit, elapsed, connectivity)


@pytest.mark.parametrize(
    ("layer", "status", "what", "advice"),
    [
        ("connect", "UNAVAILABLE", "had no connection for 2.001 s", "Nothing was sent: trying again is safe."),
        ("header", "DEADLINE_EXCEEDED", "was not accepted by the server for 2.001 s", "may have been carried out"),
        ("idle", "DEADLINE_EXCEEDED", "waited for a message from the server for 2.001 s", "was under way"),
        ("write", "DEADLINE_EXCEEDED", "waited for the server to take a message for 2.001 s", "was under way"),
    ],
)
def test_a_layer_says_everything_in_one_line(layer: Layer, status: str, what: str, advice: str) -> None:
    ending = Ending(layer, 2.0, 2.0007, "policy:shop.Orders")
    verdict = ended_by_layer(ending, METHOD, "TRANSIENT_FAILURE", "connection refused")
    assert verdict.status == status
    assert verdict.facts == TimeoutFacts(
        layer, 2.0, 2.0007, "policy:shop.Orders", "TRANSIENT_FAILURE", "connection refused"
    )
    assert verdict.details.startswith(f"{METHOD} {what}: its {layer} time-out is 2 s (policy:shop.Orders); ")
    assert "; the channel is TRANSIENT_FAILURE; last connection error: connection refused. " in verdict.details
    assert advice in verdict.details
    assert "\n" not in verdict.details


def test_what_is_not_known_is_not_said() -> None:
    details = ended_by_layer(Ending("header", 0.25, 0.25, "explicit"), METHOD).details
    assert "its header time-out is 0.25 s (explicit). The request was sent" in details


@pytest.mark.parametrize(
    ("reason", "status", "limit", "words"),
    [
        (Reason.EXPIRED, "DEADLINE_EXCEEDED", 4.5, f"the deadline of the inbound RPC {INBOUND} passed"),
        (Reason.CLIENT_CANCELLED, "CANCELLED", None, f"the inbound RPC {INBOUND} was cancelled by its client"),
        (Reason.DRAINING, "CANCELLED", None, f"the inbound RPC {INBOUND} ended because its server is shutting down"),
        (Reason.PARENT, "CANCELLED", None, f"the inbound RPC {INBOUND} was called off by the code around it"),
    ],
)
def test_a_scope_says_why_it_ended(reason: Reason, status: str, limit: float | None, words: str) -> None:
    verdict = ended_by_scope(scope(reason), METHOD, 4.5, 0.5, "READY")
    assert verdict.status == status
    assert verdict.details == f"{METHOD} was ended after 0.5 s: {words}; the channel is READY"
    assert verdict.facts == TimeoutFacts("scope", limit, 0.5, f"inherited:{INBOUND}", "READY")


def test_work_outside_of_an_rpc_has_words_too() -> None:
    outside = Scope(None, "limit")
    outside.cancel(Reason.PARENT)
    assert "the work it belongs to was called off" in ended_by_scope(outside, METHOD, None, 1.0).details


@pytest.mark.parametrize("status", ["DEADLINE_EXCEEDED", "CANCELLED"])
def test_at_or_after_the_own_deadline_the_total_was_spent(status: str) -> None:
    verdict = grpc_ended(status, 5.0, "what grpc said", connectivity="READY")
    assert verdict is not None
    assert verdict.status == "DEADLINE_EXCEEDED"
    assert verdict.facts == TimeoutFacts("total", 5.0, 5.0, "policy:shop.Orders", "READY")
    assert verdict.details == (
        f"what grpc said: the total time-out of {METHOD}, 5 s (policy:shop.Orders), was spent after 5 s; the channel is READY. "
        "The request may have been carried out: try again only what may be done twice."
    )


def test_a_total_that_was_spent_without_a_connection_says_so() -> None:
    verdict = grpc_ended("DEADLINE_EXCEEDED", 5.001, connectivity="CONNECTING")
    assert verdict is not None
    assert "; the channel is CONNECTING. A connect time-out would have ended it sooner" in verdict.details


def test_a_cancel_before_the_deadline_is_a_cancel() -> None:
    assert grpc_ended("CANCELLED", 4.999, "Locally cancelled by application!") is None


@pytest.mark.parametrize("elapsed", [4.9801, 4.99, 5.0])
def test_two_clocks_may_differ_a_little(elapsed: float) -> None:
    verdict = grpc_ended("DEADLINE_EXCEEDED", elapsed)
    assert verdict is not None
    assert (verdict.facts.limit, verdict.facts.source) == (5.0, "policy:shop.Orders")


def test_a_deadline_of_the_servers_is_told_from_the_own() -> None:
    verdict = grpc_ended("DEADLINE_EXCEEDED", 1.5, "too slow", connectivity="READY")
    assert verdict is not None
    assert verdict.status == "DEADLINE_EXCEEDED"
    assert verdict.facts == TimeoutFacts("total", None, 1.5, "server", "READY")
    assert verdict.details == (
        f"too slow: the server ended {METHOD} after 1.5 s, by a limit of its own; "
        "its own total time-out, 5 s (policy:shop.Orders), was not spent"
    )


@pytest.mark.parametrize(
    ("timeout", "limits", "of", "source"),
    [
        (5.0, POLICY, scope(), "explicit"),
        (9.0, POLICY, scope(), "policy:shop.Orders"),
        (9.0, UNLIMITED.changed({"total": 5.0}), None, "explicit"),
        (9.0, UNLIMITED, scope(), f"inherited:{INBOUND}"),
    ],
)
def test_a_total_names_the_limit_that_was_the_smallest(
    timeout: float, limits: Limits, of: Scope | None, source: str
) -> None:
    verdict = grpc_ended("DEADLINE_EXCEEDED", 5.01, limits=limits, of=of, timeout=timeout)
    assert verdict is not None
    assert verdict.facts.source == source
    assert f"5 s ({source})" in verdict.details


@pytest.mark.parametrize(
    ("reason", "status", "limit", "layer"),
    [
        (Reason.EXPIRED, "CANCELLED", 5.0, "scope"),
        (Reason.EXPIRED, "DEADLINE_EXCEEDED", 5.0, "scope"),
        (Reason.CLIENT_CANCELLED, "CANCELLED", None, "scope"),
        (Reason.CLIENT_CANCELLED, "DEADLINE_EXCEEDED", 2.0, "total"),
        (Reason.CLIENT_CANCELLED, "CANCELLED", 2.0, "total"),
    ],
)
def test_a_scope_is_named_only_where_it_ended_the_call(
    reason: Reason, status: str, limit: float | None, layer: str
) -> None:
    verdict = grpc_ended(status, 3.0, limits=UNLIMITED, limit=limit, of=scope(reason))
    assert verdict is not None
    assert verdict.facts.layer == layer


@pytest.mark.parametrize("status", ["UNAVAILABLE", "INTERNAL", "FAILED_PRECONDITION"])
@pytest.mark.parametrize("elapsed", [1.0, 9.0])
def test_an_error_that_is_no_limits_is_left_alone(status: str, elapsed: float) -> None:
    assert grpc_ended(status, elapsed, "failed", of=scope()) is None
    assert grpc_ended(status, elapsed, "failed", limit=None, limits=UNLIMITED) is None


@pytest.mark.parametrize(
    ("status", "details"),
    [
        # gRPC's C-core on an HTTP answer without trailers of gRPC: nginx, HAProxy, Caddy and Traefik send 504.
        ("UNAVAILABLE", "Received http2 header with status: 504"),
        ("UNKNOWN", "Received http2 header with status: 408"),
        # Envoy, source/common/router/router.cc and http/conn_manager_impl.cc; the status since envoyproxy/envoy#44479
        ("UNAVAILABLE", "upstream request timeout"),
        ("DEADLINE_EXCEEDED", "upstream request timeout"),
        ("UNKNOWN", "upstream max stream duration reached"),
        ("UNAVAILABLE", "stream timeout"),
    ],
)
@pytest.mark.parametrize("limit", [None, 5.0])
def test_a_proxys_limit_is_recognised(status: str, details: str, limit: float | None) -> None:
    verdict = grpc_ended(status, 1.0, details, limit=limit, limits=POLICY if limit else UNLIMITED)
    assert verdict is not None
    assert verdict.status == status
    assert verdict.facts == TimeoutFacts("proxy", None, 1.0, "proxy", None)
    assert verdict.details.startswith(f"{details}: a proxy before the server gave up on {METHOD} after 1 s")


@pytest.mark.parametrize(
    "details",
    [
        "Received http2 header with status: 502",
        "Received http2 header with status: 5040",
        "order 504 is unknown",
        "no upstream request timeout is set",
        "",
    ],
)
def test_what_only_looks_like_a_proxys_limit_is_not_one(details: str) -> None:
    assert grpc_ended("UNAVAILABLE", 1.0, details) is None


@pytest.mark.parametrize(
    ("status", "details"),
    [
        ("INTERNAL", "Stream removed (RST_STREAM (Received RST_STREAM with error code 2))"),  # Envoy, Caddy
        ("INTERNAL", "Received RST_STREAM with error code 1"),  # nginx; as older releases of gRPC say it
        ("CANCELLED", "Stream removed (Data frame with END_STREAM flag received) (RST_STREAM (…))"),  # HAProxy
        ("UNKNOWN", "Stream removed (Data frame with END_STREAM flag received)"),
    ],
)
@pytest.mark.parametrize("limit", [None, 5.0])
def test_a_stream_that_a_proxy_cut_is_recognised(status: str, details: str, limit: float | None) -> None:
    verdict = grpc_ended(status, 2.0, details, limit=limit, limits=POLICY if limit else UNLIMITED)
    assert verdict is not None
    assert verdict.status == status
    assert verdict.facts == TimeoutFacts("proxy", None, 2.0, "proxy", None)
    assert verdict.details.startswith(f"{details}: a proxy on the way probably cut {METHOD} after 2 s")
    assert "InbandPolicy" in verdict.details


@pytest.mark.parametrize(
    ("status", "details", "elapsed"),
    [
        ("INTERNAL", "Received RST_STREAM with error code 2", 0.9),  # nothing idles so shortly
        ("UNAVAILABLE", "Received RST_STREAM with error code 7", 2.0),  # the server refused the stream
        ("INTERNAL", "error code 2", 2.0),
        ("CANCELLED", "RST_STREAM", 2.0),
        ("INTERNAL", "END_STREAM flag received", 2.0),
    ],
)
def test_what_only_looks_like_a_cut_is_not_one(status: str, details: str, elapsed: float) -> None:
    assert grpc_ended(status, elapsed, details) is None


def test_a_proxy_that_passes_the_own_deadline_on_is_not_named() -> None:
    verdict = grpc_ended("DEADLINE_EXCEEDED", 5.0, "upstream request timeout")
    assert verdict is not None
    assert (verdict.facts.layer, verdict.facts.limit) == ("total", 5.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(8.0, "8 s"), (0.25, "0.25 s"), (2.0007, "2.001 s"), (100.0, "100 s"), (0.0, "0 s"), (0.000_04, "4e-05 s")],
)
def test_seconds_in_words(value: float, text: str) -> None:
    assert seconds(value) == text
