"""Strategies by name."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from grpc_heartbeat import strategies
from grpc_heartbeat.strategies.tcp import TcpConnect

BUILT_IN = ("grpc", "http2-ping", "quic-ping", "tcp", "websocket-ping")
TARGETS = {"websocket-ping": "ws://localhost:1"}


@pytest.fixture
def mine() -> Iterator[str]:
    yield "mine"
    strategies.unregister("mine")


def test_a_wrong_name_of_the_package_is_refused_by_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Probber'"):
        _ = strategies.Probber  # type: ignore[attr-defined]  # the point of the test


@pytest.mark.parametrize("name", BUILT_IN)
def test_each_built_in_is_a_strategy(name: str) -> None:
    made: strategies.Strategy = strategies.get(name)(TARGETS.get(name, "localhost:1"))
    assert all(callable(getattr(made, method)) for method in ("start", "probe", "stop"))
    assert name in strategies.names()


def test_a_registered_one_is_found_and_can_be_taken_back(mine: str) -> None:
    strategies.register(mine, TcpConnect)
    strategies.register(mine, TcpConnect)
    assert strategies.get(mine) is TcpConnect
    assert strategies.names() == tuple(sorted((*BUILT_IN, mine)))
    strategies.unregister(mine)
    strategies.unregister(mine)
    with pytest.raises(strategies.UnknownStrategyError):
        strategies.get(mine)


def test_nobody_takes_a_name_that_is_taken(mine: str) -> None:
    with pytest.raises(ValueError, match="there is a strategy 'tcp' already"):
        strategies.register("tcp", TcpConnect)
    strategies.register(mine, TcpConnect)
    with pytest.raises(ValueError, match="there is a strategy 'mine' already"):
        strategies.register(mine, lambda target: TcpConnect(target))


@pytest.mark.parametrize("name", ["", "Upper", "a b", "-a", "a" * 64, None])
def test_a_name_is_short_and_plain(name: Any) -> None:
    with pytest.raises(ValueError, match="name must be 1 to 63 lower-case letters"):
        strategies.register(name, TcpConnect)


def test_a_factory_can_be_called() -> None:
    nothing: Any = None
    with pytest.raises(TypeError, match="factory must be callable, not NoneType"):
        strategies.register("nothing", nothing)


def test_an_unknown_name_is_told_from_those_that_there_are() -> None:
    with pytest.raises(strategies.UnknownStrategyError) as caught:
        strategies.get("http2-pong")
    assert str(caught.value) == (
        "there is no strategy 'http2-pong' (did you mean 'http2-ping'?); known: " + ", ".join(BUILT_IN)
    )


def test_a_package_brings_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("icmp", f"{TcpConnect.__module__}:TcpConnect", "grpc_heartbeat.strategies")

    def entry_points(*, group: str) -> tuple[importlib.metadata.EntryPoint, ...]:
        return (point,) if group == point.group else ()

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    assert strategies.get("icmp") is TcpConnect
    assert "icmp" in strategies.names()


@pytest.mark.parametrize(
    ("name", "package"), [("http2-ping", "h2"), ("websocket-ping", "websockets"), ("quic-ping", "aioquic")]
)
def test_a_missing_library_is_named_with_its_extra(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [_Absent(package), *sys.meta_path])
    with pytest.raises(strategies.MissingExtraError) as caught:
        strategies.get(name)
    assert str(caught.value) == f"this needs the package '{package}': pip install 'grpc-heartbeat[strategies]'"
    assert name in strategies.names()


class _Absent:
    """Finds that a package is not installed."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == self._package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_what_is_not_used_is_not_loaded() -> None:
    look = (
        "import sys, grpc_heartbeat; from grpc_heartbeat import strategies; strategies.get('tcp'); strategies.Prober;"
        "print([name for name in sys.modules if name in ('h2', 'websockets', 'aioquic')])"
    )
    result = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"
