"""The keepalive pair: its arithmetic, its names, and what it does to real connections."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.options import (
    MAX_AGE,
    MAX_INTERVAL,
    MAX_TIMEOUT,
    ChannelOptions,
    client_options,
    keepalive_pair,
    server_options,
)

HOLD = "/test.Hold/Stream"
EVERY_CLIENT_OPTION = client_options(connect_timeout=3)
EVERY_SERVER_OPTION = server_options(max_connection_age=60, max_connection_age_grace=5, max_connection_idle=60)


def test_defaults_of_the_client() -> None:
    assert dict(client_options()) == {
        "grpc.keepalive_time_ms": 30_000,
        "grpc.keepalive_timeout_ms": 10_000,
        "grpc.http2.ping_timeout_ms": 10_000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.max_pings_without_data": 0,
    }


def test_defaults_of_the_server() -> None:
    assert dict(server_options()) == {
        "grpc.keepalive_time_ms": 60_000,
        "grpc.keepalive_timeout_ms": 10_000,
        "grpc.http2.ping_timeout_ms": 10_000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.min_ping_interval_without_data_ms": 5_000,
        "grpc.http2.max_ping_strikes": 2,
    }


def test_connection_limits_reach_every_native_clock() -> None:
    assert dict(client_options(keepalive_time=None, connect_timeout=3)) == {
        "grpc.min_reconnect_backoff_ms": 3000,
        "grpc.initial_reconnect_backoff_ms": 1000,
        "grpc.max_reconnect_backoff_ms": 3000,
        "grpc.dns_ares_query_timeout": 3000,
    }
    assert dict(client_options(connect_timeout=0.3))["grpc.initial_reconnect_backoff_ms"] == 300


def test_keepalive_can_be_left_alone() -> None:
    assert client_options(keepalive_time=None) == []
    assert "grpc.keepalive_time_ms" not in dict(server_options(keepalive_time=None))
    assert dict(server_options(keepalive_time=None))["grpc.keepalive_permit_without_calls"] == 1


def test_ages_are_given_in_seconds() -> None:
    options = dict(server_options(max_connection_age=60, max_connection_age_grace=5.5, max_connection_idle=90))
    assert options["grpc.max_connection_age_ms"] == 60_000
    assert options["grpc.max_connection_age_grace_ms"] == 5_500
    assert options["grpc.max_connection_idle_ms"] == 90_000


@given(
    st.floats(0.001, MAX_INTERVAL / 2),
    st.floats(0.001, MAX_TIMEOUT),
    st.booleans(),
)
def test_a_pair_always_matches(interval: float, timeout: float, permit: bool) -> None:
    pair = keepalive_pair(keepalive_time=interval, keepalive_timeout=timeout, permit_without_calls=permit)
    client, server = dict(pair.client), dict(pair.server)
    assert 2 * server["grpc.http2.min_ping_interval_without_data_ms"] <= client["grpc.keepalive_time_ms"]
    assert client["grpc.keepalive_permit_without_calls"] == server["grpc.keepalive_permit_without_calls"] == permit
    assert client["grpc.http2.ping_timeout_ms"] == client["grpc.keepalive_timeout_ms"] >= 1
    assert server["grpc.http2.ping_timeout_ms"] == server["grpc.keepalive_timeout_ms"] >= 1


def test_the_defaults_of_both_sides_match() -> None:
    shortest = dict(server_options())["grpc.http2.min_ping_interval_without_data_ms"]
    assert 2 * shortest <= dict(client_options())["grpc.keepalive_time_ms"]


@pytest.mark.parametrize("name", sorted({name for name, _ in EVERY_CLIENT_OPTION + EVERY_SERVER_OPTION}))
def test_the_installed_grpc_knows_the_name(name: str) -> None:
    """Unknown names are ignored in silence by gRPC, so a typo would switch a protection off without anyone noticing."""
    native = b"".join(path.read_bytes() for path in Path(grpc.__file__).parent.rglob("*cygrpc*.so"))
    if not native:
        pytest.skip("no native library of that form on this platform")
    assert name.encode() in native


WRONG: list[tuple[Callable[..., object], str, Any, type[Exception]]] = [
    (client_options, "keepalive_time", float("nan"), ValueError),
    (client_options, "keepalive_time", float("inf"), ValueError),
    (client_options, "keepalive_time", 0, ValueError),
    (client_options, "keepalive_time", -1, ValueError),
    (client_options, "keepalive_time", "30", TypeError),
    (client_options, "keepalive_time", True, TypeError),
    (client_options, "keepalive_time", 30_000, ValueError),
    (client_options, "keepalive_timeout", 10_000, ValueError),
    (client_options, "keepalive_timeout", None, TypeError),
    (client_options, "permit_without_calls", 1, TypeError),
    (client_options, "connect_timeout", 0.05, ValueError),
    (client_options, "connect_timeout", 3000, ValueError),
    (server_options, "keepalive_time", 60_000, ValueError),
    (server_options, "keepalive_timeout", float("nan"), ValueError),
    (server_options, "permit_without_calls", "yes", TypeError),
    (server_options, "min_client_interval", -0.1, ValueError),
    (server_options, "min_client_interval", MAX_INTERVAL + 1, ValueError),
    (server_options, "max_ping_strikes", 2.0, TypeError),
    (server_options, "max_ping_strikes", -1, ValueError),
    (server_options, "max_connection_age", 0, ValueError),
    (server_options, "max_connection_age", MAX_AGE + 1, ValueError),
    (server_options, "max_connection_age_grace", 5, ValueError),
    (server_options, "max_connection_idle", float("inf"), ValueError),
    (keepalive_pair, "keepalive_time", 30_000, ValueError),
    (keepalive_pair, "keepalive_timeout", -1, ValueError),
]


@pytest.mark.parametrize(("function", "argument", "value", "error"), WRONG)
def test_a_wrong_argument_is_named(
    function: Callable[..., object], argument: str, value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=argument):
        function(**{argument: value})


def _hold(requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
    yield from requests


class _Handlers(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        return grpc.stream_stream_rpc_method_handler(_hold) if handler_call_details.method == HOLD else None


@contextmanager
def _echo_server(options: ChannelOptions) -> Iterator[str]:
    with futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[_Handlers()], options=[*options, ("grpc.so_reuseport", 0)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(0).wait()


class _HeldStream:
    """An echo stream that is open and otherwise silent, on a channel with the given options."""

    def __init__(self, target: str, options: ChannelOptions) -> None:
        self._release = threading.Event()
        self._channel = grpc.insecure_channel(target, options=options)
        hold: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(HOLD)
        self.call = hold(self._requests(), timeout=60, wait_for_ready=True)
        assert next(self.call) == b"first"

    def _requests(self) -> Iterator[bytes]:
        yield b"first"
        self._release.wait()
        yield b"second"

    def echo(self) -> bytes:
        self._release.set()
        message: bytes = next(self.call)
        return message

    def close(self) -> None:
        self._release.set()
        self.call.cancel()
        self._channel.close()


@contextmanager
def _held(target: str, options: ChannelOptions) -> Iterator[_HeldStream]:
    stream = _HeldStream(target, options)
    try:
        yield stream
    finally:
        stream.close()


@pytest.mark.slow
def test_only_the_matched_server_accepts_a_fast_client() -> None:
    pair = keepalive_pair(keepalive_time=1, keepalive_timeout=5)
    with (
        _echo_server(pair.server) as matched,
        _echo_server([]) as unprepared,
        _held(matched, pair.client) as kept,
        _held(unprepared, pair.client) as refused,
    ):
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            next(refused.call)
        assert time.monotonic() - started < 20
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "too many pings" in (caught.value.details() or "").lower().replace("_", " ")
        assert kept.echo() == b"second"


@pytest.mark.slow
def test_a_frozen_server_is_noticed_in_seconds() -> None:
    root = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(
        [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            target = process.stdout.readline().strip()
            with _held(target, client_options(keepalive_time=1, keepalive_timeout=1)) as stream:
                process.send_signal(signal.SIGSTOP)
                started = time.monotonic()
                with pytest.raises(grpc.RpcError) as caught:
                    next(stream.call)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                assert time.monotonic() - started < 15
        finally:
            process.kill()


def test_the_connect_timeout_bounds_an_attempt(silent_listener: str) -> None:
    options = client_options(connect_timeout=0.3)
    with grpc.insecure_channel(silent_listener, options=options) as channel:
        started = time.monotonic()
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Hold/Nothing")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=15)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert time.monotonic() - started < 10


@pytest.fixture
def silent_listener() -> Iterator[str]:
    """A TCP port that accepts and then says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def _serve_until_end_of_input() -> None:
    with _echo_server([]) as target:
        print(target, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _serve_until_end_of_input()
