"""Runs the performance: processes and receiver up, the four acts, the verdict, everything down."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from time import monotonic

from grpc_heartbeat.demo import acts, metrics, show
from grpc_heartbeat.demo.acts import Cast
from grpc_heartbeat.demo.children import children
from grpc_heartbeat.demo.facts import Check, Facts
from grpc_heartbeat.demo.receiver import Receiver
from grpc_heartbeat.demo.screen import Screen
from grpc_heartbeat.demo.topology import PLACES

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
ACTS = 4


def perform(
    screen: Screen, frozen_seconds: float, environment: Mapping[str, str] = os.environ, metrics_port: int = 0
) -> Facts:
    """Run the demo and return its facts.

    Args:
        frozen_seconds: How long the stock service stays frozen.
        environment: Where OpenTelemetry's variables are read. With an OTLP endpoint the spans go there.
        metrics_port: Where the first of the processes answers Prometheus; the others follow. 0: they do not.

    Raises:
        ChildError: a process did not start, answer or live.
    """
    started = monotonic()
    endpoint = next((environment[name] for name in ENDPOINTS if environment.get(name)), "")
    with contextlib.ExitStack() as stack:
        receiver = None if endpoint else stack.enter_context(Receiver())
        target = endpoint if receiver is None else receiver.endpoint
        nodes = node_environment(environment, None if endpoint else target) | metrics.environment(metrics_port)
        cast = stack.enter_context(children(PLACES, nodes))
        screen.now("four processes start and connect")
        acts.connect(cast)
        facts = _perform(cast, screen, frozen_seconds, receiver, endpoint)
    facts.seconds = monotonic() - started
    return facts


def _perform(cast: Cast, screen: Screen, frozen_seconds: float, receiver: Receiver | None, endpoint: str) -> Facts:
    facts = Facts()
    screen.act("1. Requests flow: client → gateway → orders → stock, with 8 s for all of it")
    facts.flow = acts.flow(cast, screen)
    show.flow(screen, facts.flow)
    _judge(screen, facts, facts.flow.checks())
    screen.act("2. The client cancels a slow request")
    facts.cancel = acts.cancel(cast, screen)
    show.cancel(screen, facts.cancel)
    _judge(screen, facts, facts.cancel.checks())
    screen.act("3. stock freezes (SIGSTOP) and comes back (SIGCONT)")
    facts.freeze = acts.freeze(cast, screen, frozen_seconds)
    show.freeze(screen, facts.freeze)
    _judge(screen, facts, facts.freeze.checks())
    screen.act("4. The traces, from the spans that were exported over OTLP/gRPC")
    facts.traces = acts.collect(cast, screen, receiver, endpoint)
    show.traces(screen, facts.traces)
    _judge(screen, facts, facts.traces.checks())
    return facts


def _judge(screen: Screen, facts: Facts, checks: Iterable[Check]) -> None:
    found = list(checks)
    facts.checks += found
    screen.line()
    show.checks(screen, found)


def node_environment(environment: Mapping[str, str], endpoint: str | None) -> dict[str, str]:
    """Return the nodes' environment.

    Loopback calls go through no proxy. With ``endpoint`` OpenTelemetry's variables are ours alone, so that a sampler or a
    header that the machine has set cannot change what the demo shows.
    """
    nodes = {name: value for name, value in environment.items() if endpoint is None or not name.startswith("OTEL_")}
    unproxied = environment.get("no_grpc_proxy") or environment.get("no_proxy") or ""
    nodes["no_grpc_proxy"] = ",".join(filter(None, (unproxied, "127.0.0.1")))
    if endpoint is not None:
        nodes["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    return nodes
