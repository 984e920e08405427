"""Bad configuration is refused with the name of the field, its value and what is allowed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from grpc_heartbeat import HeartbeatPolicy, Identity, Timeouts


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda value: Timeouts(total=value), "Timeouts.total"),
        (lambda value: HeartbeatPolicy(interval=value), "HeartbeatPolicy.interval"),
        (lambda value: HeartbeatPolicy(timeout=value), "HeartbeatPolicy.timeout"),
        (lambda value: HeartbeatPolicy(reconnect_min=value), "HeartbeatPolicy.reconnect_min"),
    ],
)
def test_seconds_must_be_finite_and_positive(make: Any, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        make(value)


@pytest.mark.parametrize("value", ["1", None, True, [1]])
def test_seconds_must_be_numbers(value: Any) -> None:
    with pytest.raises(TypeError, match=r"HeartbeatPolicy\.interval must be a number of seconds"):
        HeartbeatPolicy(interval=value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"interval": 1, "timeout": 2}, "must not exceed interval"),
        ({"misses": 0}, "misses must be at least 1"),
        ({"misses": 1.5}, "misses must be an integer"),
        ({"type": "pulse"}, "type must be one of"),
        ({"reconnect_min": 5, "reconnect_max": 1}, "reconnect_max"),
    ],
)
def test_contradictions_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        HeartbeatPolicy(**fields)


def test_the_default_timeout_of_a_beat_fits_its_interval() -> None:
    assert HeartbeatPolicy().beat_timeout == 1.0
    assert HeartbeatPolicy(interval=0.2).beat_timeout == 0.2


@pytest.mark.parametrize("part", ["service", "zone", "instance"])
def test_labels_are_bounded_strings(part: str) -> None:
    Identity(**{part: "é" * 127})
    with pytest.raises(ValueError, match=f"Identity.{part} must be at most 255 bytes"):
        Identity(**{part: "é" * 128})
    with pytest.raises(ValueError, match=f"Identity.{part} must be text that UTF-8 can hold"):
        Identity(**{part: "a\udc80"})
    with pytest.raises(TypeError, match=f"Identity.{part} must be a string"):
        Identity(**{part: 5})  # type: ignore[arg-type]  # the point of the test


def test_the_service_name_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "orders")
    assert Identity().service == "orders"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "orders\udc80")  # as undecodable bytes are read
    assert Identity().service == "orders?"


def test_recommended_timeouts() -> None:
    assert Timeouts.recommended().total == 8.0
