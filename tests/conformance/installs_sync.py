"""The ways of giving a sync channel this library's powers. ``make(target, timeouts, options)`` returns the channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc

import grpc_heartbeat
from grpc_heartbeat import TimeoutPolicy
from tests.chain.hops import Noop, _traced

Make = Callable[[str, TimeoutPolicy, Sequence[Any]], grpc.Channel]


def _bare(target: str, options: Sequence[Any]) -> grpc.Channel:
    return grpc.insecure_channel(target, options=list(options))


INSTALLATIONS: dict[str, Make] = {
    "our channel": lambda target, timeouts, options: grpc_heartbeat.insecure_channel(
        target, options=list(options), timeouts=timeouts
    ),
    "wrapped channel": lambda target, timeouts, options: grpc_heartbeat.wrap_channel(
        _bare(target, options), timeouts=timeouts
    ),
    "wrapped around an intercepted channel": lambda target, timeouts, options: grpc_heartbeat.wrap_channel(
        grpc.intercept_channel(_bare(target, options), Noop()), timeouts=timeouts
    ),
    "wrapped around OpenTelemetry": lambda target, timeouts, options: grpc_heartbeat.wrap_channel(
        _traced(_bare(target, options)), timeouts=timeouts
    ),
    "official interceptors": lambda target, timeouts, options: grpc.intercept_channel(
        _bare(target, options), *grpc_heartbeat.client_interceptors(timeouts=timeouts)
    ),
}
