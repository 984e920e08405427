"""A proxy's time-out is recognised by what gRPC makes of it, seen on a connection that answers as proxies do."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts
from grpc_heartbeat.errors import timeout_of
from tests.peers import PATIENCE, path

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, SETTINGS = 1, 4
ACK, END_STREAM, END_HEADERS = 1, 1, 4
Answer = dict[str, str]

GATEWAY = {":status": "504", "content-type": "text/html"}
REQUEST_TIMEOUT = {":status": "408", "content-type": "text/html"}
BAD_GATEWAY = {":status": "502", "content-type": "text/html"}
ENVOY = {
    ":status": "200",
    "content-type": "application/grpc",
    "grpc-status": "14",
    "grpc-message": "upstream request timeout",
}
ENVOY_SINCE_2026 = {**ENVOY, "grpc-status": "4"}


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literals(answer: Answer) -> bytes:
    """Encode headers as HPACK literals that are not indexed (RFC 7541, 6.2.2)."""
    parts = [b"\x00" + bytes([len(k)]) + k.encode() + bytes([len(v)]) + v.encode() for k, v in answer.items()]
    return b"".join(parts)


class Proxy:
    """Answers every request on one connection after the other with the same headers."""

    def __init__(self, answer: Answer) -> None:
        self._answer = literals(answer)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as reader:
                connection.settimeout(PATIENCE)
                self._answer_all(connection, reader)

    def _answer_all(self, connection: socket.socket, reader: Any) -> None:
        if reader.read(len(PREFACE)) != PREFACE:
            return
        connection.sendall(frame(SETTINGS, 0, 0))
        while len(head := reader.read(9)) == 9:
            length, kind, flags, stream = int.from_bytes(head[:3], "big"), head[3], head[4], head[5:]
            reader.read(length)
            if kind == SETTINGS and not flags & ACK:
                connection.sendall(frame(SETTINGS, ACK, 0))
            if kind == HEADERS:
                number = int.from_bytes(stream, "big")
                connection.sendall(frame(HEADERS, END_STREAM | END_HEADERS, number, self._answer))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)


@pytest.fixture
def proxy() -> Iterator[Callable[[Answer], str]]:
    started: list[Proxy] = []

    def start(answer: Answer) -> str:
        started.append(Proxy(answer))
        return started[-1].target

    yield start
    for each in started:
        each.close()


def sync_error(target: str) -> Any:
    channel = grpc_heartbeat.insecure_channel(target, timeouts=Timeouts(total=60))
    with channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(path("UnaryUnary"))(b"")
    return caught.value


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (GATEWAY, grpc.StatusCode.UNAVAILABLE, "Received http2 header with status: 504"),
        (REQUEST_TIMEOUT, grpc.StatusCode.UNKNOWN, "Received http2 header with status: 408"),
        (ENVOY, grpc.StatusCode.UNAVAILABLE, "upstream request timeout"),
        (ENVOY_SINCE_2026, grpc.StatusCode.DEADLINE_EXCEEDED, "upstream request timeout"),
    ],
)
def test_a_proxys_time_out_is_named(
    proxy: Callable[[Answer], str], answer: Answer, code: grpc.StatusCode, text: str
) -> None:
    error = sync_error(proxy(answer))
    assert error.code() is code
    assert error.details().startswith(text)
    facts = timeout_of(error)
    assert facts is not None
    assert (facts.layer, facts.limit, facts.source) == ("proxy", None, "proxy")


def test_another_error_of_a_proxy_is_left_alone(proxy: Callable[[Answer], str]) -> None:
    error = sync_error(proxy(BAD_GATEWAY))
    assert error.details() == "Received http2 header with status: 502"
    assert timeout_of(error) is None
