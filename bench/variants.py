"""What is compared with bare grpcio, on each side and stack. A variant whose packages are absent is left out, and said.

- ``bare``: grpcio alone; the reference.
- ``bare, budget by hand``: grpcio alone, with the exact budget that ``ours in scope`` sends: the floor of what it does.
- ``ours``: a channel of this library with the same explicit time-out as ``bare``, or its server interceptors as they come.
- ``ours, scope only``: server interceptors that never accept a call early.
- ``ours in scope``: the same channel with the deadline inherited from a surrounding scope instead.
- ``ours, connect``, ``ours, header``: in scope, with a limit for the connection; with one for the acceptance besides.
- ``ours, idle``: with a limit for each message instead; only streams know it.
- ``ours, all layers``: in scope, with every limit there is.
- ``ours, adaptive``: the same channel with a total that adapts, which sends the exact budget, too; only unary calls know it.
- ``ours, interceptors``: this library's official client interceptors, in scope.
- ``no-op interceptor``: one interceptor of the official API that does nothing: the floor of that API.
- ``ours, metrics``: ``ours`` with this library's metrics turned on.
- ``ours, tracing``: ``ours`` with this library's tracing, a batch processor and an exporter that does nothing.
- ``tracing interceptors``: grpcio with this library's tracing interceptors and the same processor.
- ``opentelemetry``: opentelemetry-instrumentation-grpc with a real tracer provider and no exporter.
- ``opentelemetry, batch``: the same with the processor and the exporter.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import grpc.aio

from bench import telemetry

LIMIT = 30.0
"""Seconds: the time-out of every call, so that every variant has the same deadline on the wire."""

BUDGET = (("deadline-budget-v1", "29999123"),)
"""The metadata entry that a call in scope carries."""

MEASURED = ("ours, metrics",)
"""Servers that are called while metrics are on."""


@dataclass(frozen=True)
class ClientVariant:
    """A way to make a channel, the time-out and metadata to give to calls, and the scope to make them in."""

    name: str
    open: Callable[[str], Any]
    timeout: float | None = LIMIT
    scope: Callable[[], AbstractContextManager[object]] = nullcontext
    metadata: tuple[tuple[str, str], ...] | None = None
    kinds: tuple[str, ...] = ("unary", "stream")


def of_kind(variants: Iterable[ClientVariant], kind: str) -> list[ClientVariant]:
    """Return those that mean something for this kind of call."""
    return [variant for variant in variants if kind in variant.kinds]


@dataclass(frozen=True)
class ServerVariant:
    """The interceptors of a server."""

    name: str
    interceptors: Callable[[], list[Any]]


def sync_clients() -> list[ClientVariant]:
    variants = [
        ClientVariant("bare", grpc.insecure_channel),
        ClientVariant("bare, budget by hand", grpc.insecure_channel, metadata=BUDGET),
        ClientVariant("no-op interceptor", lambda target: _intercepted(target, [NoOpClient()])),
    ]
    return [*variants, *_ours_clients("sync", _intercepted), *_opentelemetry_sync_client()]


def aio_clients() -> list[ClientVariant]:
    noop: list[Any] = [NoOpAioUnaryUnary(), NoOpAioUnaryStream()]
    variants = [
        ClientVariant("bare", grpc.aio.insecure_channel),
        ClientVariant("bare, budget by hand", grpc.aio.insecure_channel, metadata=BUDGET),
        ClientVariant("no-op interceptor", lambda target: _aio_intercepted(target, noop)),
    ]
    return [*variants, *_ours_clients("aio", _aio_intercepted), *_opentelemetry_aio_client()]


def sync_servers() -> list[ServerVariant]:
    variants = [ServerVariant("bare", list), ServerVariant("no-op interceptor", lambda: [NoOpServer()])]
    return [*variants, *_ours_server("sync"), *_opentelemetry_server("server_interceptor")]


def aio_servers() -> list[ServerVariant]:
    variants = [ServerVariant("bare", list), ServerVariant("no-op interceptor", lambda: [NoOpAioServer()])]
    return [*variants, *_ours_server("aio"), *_opentelemetry_server("aio_server_interceptor")]


def missing() -> list[str]:
    """Return why variants are left out, one line each."""
    return [f"{name} is not measured: {error}" for name, error in map(_import_error, _OPTIONAL) if error]


_OPTIONAL = ("grpc_heartbeat", "opentelemetry.instrumentation.grpc")


def _import_error(name: str) -> tuple[str, str | None]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        return name, str(error)
    return name, None


def _optional(name: str) -> Any:
    return None if _import_error(name)[1] else importlib.import_module(name)


def _intercepted(target: str, interceptors: Iterable[Any]) -> grpc.Channel:
    return grpc.intercept_channel(grpc.insecure_channel(target), *interceptors)


def _aio_intercepted(target: str, interceptors: Iterable[Any]) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(target, interceptors=list(interceptors))


def _ours_clients(stack: str, intercepted: Callable[[str, Iterable[Any]], Any]) -> list[ClientVariant]:
    if _optional("grpc_heartbeat") is None:
        return []
    face = importlib.import_module(_FACES[stack])
    deadline = importlib.import_module("grpc_heartbeat.deadline")

    def scope() -> AbstractContextManager[object]:
        limit: AbstractContextManager[object] = deadline.limit(LIMIT)
        return limit

    def official(target: str) -> Any:
        return intercepted(target, face.client_interceptors())

    def limited(**limits: float) -> Callable[[str], Any]:
        timeouts = importlib.import_module("grpc_heartbeat").Timeouts(total=LIMIT, **limits)
        return lambda target: face.insecure_channel(target, timeouts=timeouts)

    def adaptive(target: str) -> Any:
        made = importlib.import_module("grpc_heartbeat.adaptive").AdaptiveTimeouts
        timeouts = importlib.import_module("grpc_heartbeat").Timeouts(total=LIMIT)
        return face.insecure_channel(target, timeouts=made(timeouts, least=LIMIT))

    def traced(target: str) -> Any:
        return telemetry.traced(face.insecure_channel(target))

    def by_interceptors(target: str) -> Any:
        return intercepted(target, telemetry.client_interceptors(stack))

    return [
        ClientVariant("ours", face.insecure_channel),
        ClientVariant("ours in scope", face.insecure_channel, None, scope),
        ClientVariant("ours, connect", limited(connect=3.0), None, scope, kinds=("unary",)),
        ClientVariant("ours, header", limited(connect=3.0, header=2.0), None, scope, kinds=("unary",)),
        ClientVariant("ours, idle", limited(idle=5.0), kinds=("stream",)),
        ClientVariant("ours, all layers", limited(connect=3.0, header=2.0, idle=5.0, write=5.0), None, scope),
        ClientVariant("ours, adaptive", adaptive, None, kinds=("unary",)),
        ClientVariant("ours, interceptors", official, None, scope),
        ClientVariant("ours, metrics", face.insecure_channel, scope=telemetry.measured),
        ClientVariant("ours, tracing", traced),
        ClientVariant("tracing interceptors", by_interceptors),
    ]


def _ours_server(stack: str) -> list[ServerVariant]:
    if _optional("grpc_heartbeat") is None:
        return []
    make = importlib.import_module(_FACES[stack]).server_interceptors
    variants = [
        ServerVariant("ours", make),
        ServerVariant("ours, metrics", make),
        ServerVariant("ours, tracing", lambda: [*telemetry.server_interceptors(stack), *make()]),
        ServerVariant("tracing interceptors", lambda: telemetry.server_interceptors(stack)),
    ]
    if "accept_after" in inspect.signature(make).parameters:
        variants.insert(0, ServerVariant("ours, scope only", lambda: make(accept_after=None)))
    return variants


_FACES = {"sync": "grpc_heartbeat", "aio": "grpc_heartbeat.aio"}


def _tracer_provider() -> Any:
    return importlib.import_module("opentelemetry.sdk.trace").TracerProvider()


_PROVIDERS = {"opentelemetry": _tracer_provider, "opentelemetry, batch": telemetry.provider}


def _opentelemetry_sync_client() -> list[ClientVariant]:
    package = _optional("opentelemetry.instrumentation.grpc")
    if package is None:
        return []
    extension = importlib.import_module("opentelemetry.instrumentation.grpc.grpcext")

    def open_channel(make_provider: Callable[[], Any], target: str) -> Any:
        interceptor = package.client_interceptor(tracer_provider=make_provider())
        return extension.intercept_channel(grpc.insecure_channel(target), interceptor)

    return [ClientVariant(name, partial(open_channel, make)) for name, make in _PROVIDERS.items()]


def _opentelemetry_aio_client() -> list[ClientVariant]:
    package = _optional("opentelemetry.instrumentation.grpc")
    if package is None:
        return []

    def open_channel(make_provider: Callable[[], Any], target: str) -> Any:
        return _aio_intercepted(target, package.aio_client_interceptors(tracer_provider=make_provider()))

    return [ClientVariant(name, partial(open_channel, make)) for name, make in _PROVIDERS.items()]


def _opentelemetry_server(factory: str) -> list[ServerVariant]:
    package = _optional("opentelemetry.instrumentation.grpc")
    if package is None:
        return []

    def interceptors(make_provider: Callable[[], Any]) -> list[Any]:
        return [getattr(package, factory)(tracer_provider=make_provider())]

    return [ServerVariant(name, partial(interceptors, make)) for name, make in _PROVIDERS.items()]


class NoOpClient(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(client_call_details, request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(client_call_details, request)


class NoOpAioUnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(client_call_details, request)


class NoOpAioUnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(client_call_details, request)


class NoOpServer(grpc.ServerInterceptor):
    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        return continuation(handler_call_details)


class NoOpAioServer(grpc.aio.ServerInterceptor):
    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        return await continuation(handler_call_details)
