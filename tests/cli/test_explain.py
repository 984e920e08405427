"""Failures in one line, with the wordings of the oldest and the newest supported grpcio."""

from __future__ import annotations

import grpc
import pytest

from grpc_heartbeat.cli.explain import comes_from_application, explain, shorten

FAILED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:40777: "
WORDINGS = [
    (FAILED + "Failed to connect to remote host: Connection refused", "connection refused"),
    (FAILED + "Failed to connect to remote host: connect: Connection refused (111)", "connection refused"),
    ("errors resolving x.invalid:1: [field:hostname lookup error:address lookup failed for x.invalid:1]", "DNS"),
    ("DNS resolution failed for x.invalid:1: C-ares status is not ARES_SUCCESS qtype=AAAA", "DNS"),
    (
        FAILED + "Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED: OK",
        "not trusted",
    ),
    (FAILED + "Ssl handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED", "not trusted"),
    (FAILED + "Custom verification check failed with error: Hostname Verification Check failed.", "another name"),
    (FAILED + "Peer name 127.0.0.1 is not in peer certificate", "another name"),
    (FAILED + "Ssl handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: WRONG_VERSION_NUMBER", "does not speak TLS"),
    (FAILED + "Tls handshake failed (TSI_PROTOCOL_FAILURE): something new", "the handshake failed"),
    (FAILED + "connection attempt timed out before receiving SETTINGS frame", "stays silent"),
    (FAILED + "Failed parsing HTTP/2 (Expected SETTINGS frame as the first frame, got frame type 79)", "HTTP/2"),
    (FAILED + "Failed parsing HTTP/2", "HTTP/2"),
    (FAILED + "connect: No route to host (113)", "cannot be reached"),
    (FAILED + "Socket closed", "--tls"),
    ("Socket closed", "the connection was closed by the peer"),
    ("Received http2 header with status: 502", "answered HTTP 502"),
    ("words that nobody has seen yet", "UNAVAILABLE: words that nobody has seen yet"),
]


@pytest.mark.parametrize(("details", "expected"), WORDINGS)
def test_each_known_failure_has_its_own_line(details: str, expected: str) -> None:
    line = explain(grpc.StatusCode.UNAVAILABLE, details, timeout=3, tls=False)
    assert expected in line
    assert "\n" not in line


def test_a_time_out_names_its_limit() -> None:
    line = explain(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", timeout=0.25, tls=False)
    assert line == "no answer within 0.25 s"


def test_a_status_without_text_is_its_code() -> None:
    assert explain(grpc.StatusCode.INTERNAL, None, timeout=3, tls=False) == "INTERNAL"


def test_tls_is_suggested_only_to_those_who_do_not_use_it() -> None:
    details = FAILED + "Socket closed"
    assert "--tls" not in explain(grpc.StatusCode.UNAVAILABLE, details, timeout=3, tls=True)


def test_text_of_strangers_is_made_harmless() -> None:
    shown = shorten("red \x1b[31m alert\n\tnext \u202e line " + "x" * 500)
    assert shown.startswith("red ?[31m alert next ? line x")
    assert len(shown) == 200
    assert shown.isprintable()


def test_only_statuses_that_a_server_makes_are_answers() -> None:
    assert comes_from_application(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
    assert comes_from_application(grpc.StatusCode.PERMISSION_DENIED, None)
    assert not comes_from_application(grpc.StatusCode.UNIMPLEMENTED, "Received http2 header with status: 404")
    assert not comes_from_application(grpc.StatusCode.UNAVAILABLE, "anything")
    assert not comes_from_application(grpc.StatusCode.DEADLINE_EXCEEDED, None)
