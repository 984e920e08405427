"""Turns the status of a failed call into one line for people. Pure.

gRPC tells most connection failures apart only in the text of the status, and that text changes between releases; each
pattern here matches the wordings of grpcio 1.66 to 1.85. A text that none matches is shown as it is.
"""

from __future__ import annotations

import re

import grpc

_CONNECTING = "failed to connect to all addresses"

_REASONS = (
    (r"Connection refused", "connection refused: nothing listens on that port"),
    (r"DNS resolution failed|errors? resolving|address lookup failed", "the host name cannot be resolved (DNS)"),
    (r"CERTIFICATE_VERIFY_FAILED", "TLS: the server's certificate is not trusted (see --cacert)"),
    (r"Hostname Verification|not in peer certificate", "TLS: the certificate is for another name (see --authority)"),
    (r"WRONG_VERSION_NUMBER", "TLS: the server does not speak TLS on that port (leave out --tls)"),
    (r"create security handshaker|empty address list", "TLS: the certificates to trust cannot be used (see --cacert)"),
    (r"(?i)(tls|ssl) handshake failed", "TLS: the handshake failed"),
    (r"timed out before receiving SETTINGS", "connected, but the peer stays silent (not a gRPC port?)"),
    (r"SETTINGS frame|Failed parsing HTTP/2", "the peer does not speak HTTP/2 (not a gRPC port?)"),
    (r"unreachable|No route to host", "the network or the host cannot be reached"),
    (r"Connection timed out|Timeout occurred: FD Shutdown|connect\(\) timed out", "connecting timed out"),
)
_HTTP_STATUS = re.compile(r"Received http2 header with status: (\d+)")
_MAX_DETAILS = 200


def explain(code: grpc.StatusCode, details: str | None, *, timeout: float, tls: bool) -> str:
    """Return one line that says why a beat was lost.

    Args:
        code: The status of the call.
        details: Its text, which may come from the peer.
        timeout: Seconds that the beat was given.
        tls: Whether the channel uses TLS.
    """
    text = details or ""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer within {timeout:g} s"
    http_status = _HTTP_STATUS.search(text)
    if http_status:
        return f"the peer speaks HTTP/2 but not gRPC: it answered HTTP {http_status[1]}"
    for pattern, reason in _REASONS:
        if re.search(pattern, text):
            return reason
    if re.search(r"Socket closed|Connection reset|recvmsg", text):
        return _closed(while_connecting=_CONNECTING in text, tls=tls)
    return f"{code.name}: {shorten(text)}" if text else code.name


def _closed(*, while_connecting: bool, tls: bool) -> str:
    if not while_connecting:
        return "the connection was closed by the peer"
    hint = "does it speak TLS?" if tls else "does it want --tls?"
    return f"the peer closed the connection at once ({hint})"


def shorten(text: str) -> str:
    """Return ``text``, which may come from a stranger, on one line and without control characters."""
    line = " ".join(text.split())
    printable = "".join(character if character.isprintable() else "?" for character in line)
    return printable if len(printable) <= _MAX_DETAILS else printable[: _MAX_DETAILS - 1] + "…"


def comes_from_application(code: grpc.StatusCode, details: str | None) -> bool:
    """Whether a failed call proves that a gRPC server answered it.

    The client never makes these codes itself, unless it translates the HTTP status of a peer that is no gRPC server.
    """
    return code in _ANSWERS and not _HTTP_STATUS.search(details or "")


_ANSWERS = frozenset(
    {
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
    }
)
