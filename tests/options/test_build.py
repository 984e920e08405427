"""The keepalive pair: its arithmetic, its names, and what it does to real connections."""

from __future__ import annotations

import socket
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
    PROFILES,
    ChannelOptions,
    client_options,
    keepalive_pair,
    server_options,
)

HOLD = "/test.Hold/Stream"
SIZES: dict[str, Any] = {"max_receive_bytes": 8 * 2**20, "max_send_bytes": -1}
EVERY_CLIENT_OPTION = client_options(connect_timeout=3, idle_timeout=60, **SIZES)
EVERY_SERVER_OPTION = server_options("behind-proxy", max_connection_idle=60, **SIZES)


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


def test_each_connection_limit_can_be_set_apart() -> None:
    assert dict(client_options(keepalive_time=None, connect_timeout=3, reconnect_max=20, dns_timeout=1)) == {
        "grpc.min_reconnect_backoff_ms": 3000,
        "grpc.initial_reconnect_backoff_ms": 1000,
        "grpc.max_reconnect_backoff_ms": 20_000,
        "grpc.dns_ares_query_timeout": 1000,
    }
    assert dict(client_options(keepalive_time=None, reconnect_max=0.5)) == {
        "grpc.initial_reconnect_backoff_ms": 500,
        "grpc.max_reconnect_backoff_ms": 500,
    }


def test_sizes_and_idle_time() -> None:
    assert dict(client_options(keepalive_time=None, idle_timeout=90, max_receive_bytes=-1, max_send_bytes=1000)) == {
        "grpc.client_idle_timeout_ms": 90_000,
        "grpc.max_receive_message_length": -1,
        "grpc.max_send_message_length": 1000,
    }
    assert dict(server_options(max_receive_bytes=2**31 - 1))["grpc.max_receive_message_length"] == 2**31 - 1


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_fills_in_what_is_not_given(profile: Any) -> None:
    said = PROFILES[profile]
    client, server = dict(client_options(profile)), dict(server_options(profile))
    assert client["grpc.keepalive_time_ms"] == said.keepalive_time * 1000
    assert client["grpc.http2.ping_timeout_ms"] == server["grpc.http2.ping_timeout_ms"] == said.keepalive_timeout * 1000
    assert server["grpc.keepalive_time_ms"] == said.server_keepalive_time * 1000
    assert client["grpc.keepalive_permit_without_calls"] == server["grpc.keepalive_permit_without_calls"]
    assert server.get("grpc.max_connection_age_ms") == (said.max_connection_age and said.max_connection_age * 1000)
    assert dict(client_options(profile, keepalive_time=77))["grpc.keepalive_time_ms"] == 77_000
    assert dict(keepalive_pair(profile).client) == client
    assert dict(keepalive_pair(profile).server) == server
    assert len(said.summary) > 20


def test_what_a_profile_sets_can_be_taken_back() -> None:
    assert "grpc.min_reconnect_backoff_ms" not in dict(client_options("datacenter", connect_timeout=None))
    taken = dict(server_options("behind-proxy", max_connection_age=None))
    assert "grpc.max_connection_age_ms" not in taken
    assert "grpc.max_connection_age_grace_ms" not in taken
    assert dict(client_options("mobile", permit_without_calls=True))["grpc.keepalive_permit_without_calls"] == 1


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
    (client_options, "profile", "cloud", ValueError),
    (client_options, "profile", 3, TypeError),
    (client_options, "reconnect_max", 0.05, ValueError),
    (client_options, "dns_timeout", 3000, ValueError),
    (client_options, "idle_timeout", 0.5, ValueError),
    (client_options, "max_receive_bytes", 0, ValueError),
    (client_options, "max_send_bytes", 2**31, ValueError),
    (client_options, "max_send_bytes", 4e6, TypeError),
    (server_options, "profile", "cloud", ValueError),
    (server_options, "max_receive_bytes", -2, ValueError),
    (keepalive_pair, "profile", "cloud", ValueError),
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
