"""Targets as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.strategies.addresses import Address, parse

PORTS: dict[str, int | None] = {"http": 80, "https": 443, "tcp": None}
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}(\.[a-z]{2,5}){0,2}", fullmatch=True)
HOSTS = NAMES | st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)
PATHS = st.sampled_from(["", "/", "/a/b", "/a?b=c", "/?token=1"])


@given(st.sampled_from(["http", "https", "tcp"]), HOSTS, st.integers(1, 65535), PATHS)
def test_what_is_written_is_what_is_read(scheme: str, host: str, port: int, path: str) -> None:
    written = f"[{host}]" if ":" in host else host
    assert parse(f"{scheme}://{written}:{port}{path}", PORTS) == Address(scheme, host, port, path)
    assert parse(f"{written}:{port}", PORTS, bare="http") == Address("http", host, port)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_an_error_in_words(text: str) -> None:
    try:
        address = parse(text, PORTS, bare="http")
    except ValueError:
        return
    assert address.host
    assert 1 <= address.port <= 65535


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("example.org", "needs a port"),
        ("tcp://example.org", "needs a port"),
        ("tcp://example.org:0", "needs a port"),
        ("https://example.org:70000", "is no address: Port out of range"),
        ("https://example.org:x", "is no address"),
        ("https://:443", "has no host"),
        ("ftp://example.org", "must begin with http:// or https:// or tcp://, not ftp://"),
        ("https://ada:secret@example.org", "no user name and no password"),
        ("a b:1", "a space or a control character"),
        ("a\n:1", "a space or a control character"),
    ],
)
def test_what_is_wrong_is_said(target: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        parse(target, PORTS, bare="tcp")
    assert "secret" not in str(caught.value)


def test_a_scheme_may_be_asked_for() -> None:
    with pytest.raises(ValueError, match="must begin with ws:// or wss://"):
        parse("localhost:1", {"ws": 80, "wss": 443})


def test_the_default_port_is_the_schemes() -> None:
    assert parse("https://example.org/x", PORTS) == Address("https", "example.org", 443, "/x")


def test_a_target_is_a_string() -> None:
    nothing: Any = None
    with pytest.raises(TypeError, match="target must be a string, not NoneType"):
        parse(nothing, PORTS)
