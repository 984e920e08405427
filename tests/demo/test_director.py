"""What the nodes' environment is made of."""

from __future__ import annotations

from grpc_heartbeat.demo.director import node_environment


def test_with_our_receiver_the_machines_telemetry_settings_are_left_out() -> None:
    made = node_environment({"OTEL_TRACES_SAMPLER": "always_off", "HOME": "/h"}, "http://127.0.0.1:1")
    assert made == {"HOME": "/h", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "no_grpc_proxy": "127.0.0.1"}


def test_with_a_collector_they_are_kept() -> None:
    machine = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_EXPORTER_OTLP_HEADERS": "key=1"}
    assert machine.items() <= node_environment(machine, None).items()


def test_loopback_goes_through_no_proxy() -> None:
    assert node_environment({"no_proxy": "example.org"}, None)["no_grpc_proxy"] == "example.org,127.0.0.1"
