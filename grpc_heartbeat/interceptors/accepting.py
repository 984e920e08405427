"""Accepting RPCs early on the sync stack: their initial metadata is sent while their handler still runs.

A client's header limit waits for initial metadata. grpcio sends them with the first response, so a unary handler that takes
its time looks like a server that hangs. Here they are sent, empty, for a handler that still runs after ``accept_after``.

The timer thread does that, beside the handler. grpcio's context takes its lock for sending, so the two cannot mix: if the
handler has sent initial metadata or a response first, our sending is refused, and nothing happens. If ours were first, the
handler's own would be refused with an exception. So the context's class is changed, for methods that may be accepted, to a
subclass that forgives this (``interceptors.speaking`` says what becomes of the metadata). To change the class is one store, and
``isinstance`` and everything else about the context stay true.
"""

from __future__ import annotations

from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._timers import clock, timers
from grpc_heartbeat.core.accept import AcceptQueue
from grpc_heartbeat.core.server_events import RpcAccepted
from grpc_heartbeat.interceptors.inbound import SyncScope
from grpc_heartbeat.interceptors.method import Method
from grpc_heartbeat.interceptors.speaking import heard, lost


class EarlyAccept:
    """The early accepting of one method's RPCs."""

    def __init__(self, method: Method, driver: SyncDriver) -> None:
        self._method = method
        self._queue = driver.queue
        self._classes: dict[type, type | None] = {}

    def watch(self, scope: SyncScope, context: Any, now: float) -> None:
        """Accept the RPC when its time comes, unless it has ended. Never raises."""
        try:
            forgiving = self._classes.get(type(context), _UNKNOWN)
            if forgiving is _UNKNOWN:
                forgiving = self._make(type(context), context)
            if forgiving is not None:
                context.__class__ = forgiving
                scope.began = now
                queue = self._queue  # what its ``add`` does, without its frame
                queue.entries.append(scope)
                if not queue.attended:
                    queue.attend(scope)
        except Exception as error:
            _faults.record("server.accept_watch", error)

    def _make(self, kind: type, context: Any) -> type | None:
        """Return a forgiving subclass of a context's class; ``None`` if the context cannot be changed (it has slots)."""
        if len(self._classes) >= _MOST_CLASSES:
            return None
        forgiving: type | None = _forgiving(kind, self._method)
        try:
            context.__class__ = forgiving
            context._accepted_early = False
        except (TypeError, AttributeError):
            context.__class__ = kind
            forgiving = None
        self._classes[kind] = forgiving
        return forgiving


_UNKNOWN = type(None)
_MOST_CLASSES = 16
"""Classes of contexts that are known per method: grpcio has one, other interceptors may have their own."""


def _forgiving(kind: type, method: Method) -> type:
    """Return the subclass of ``kind`` for RPCs of ``method``. More bases, or slots, and objects could not change to it."""

    def send_initial_metadata(context: Any, initial_metadata: Any) -> None:
        heard(method)
        try:
            inherited.send_initial_metadata(context, initial_metadata)
        except ValueError:
            if not context._accepted_early:
                raise
            context._accepted_early = False  # a second time is the handler's own mistake
            lost(method, "send initial metadata")

    def set_compression(context: Any, compression: Any) -> None:
        inherited.set_compression(context, compression)
        if context._accepted_early:
            lost(method, "set the compression")

    def accept_early(context: Any) -> bool:
        context._accepted_early = True  # before sending: a handler that is refused looks for it
        try:
            inherited.send_initial_metadata(context, ())
        except (ValueError, grpc.RpcError):  # the handler was first, or the RPC is over
            context._accepted_early = False
            return False
        return True

    inherited: Any = kind
    namespace = {
        "__slots__": (),
        "_accepted_early": False,
        "_accept_early": accept_early,
        "_early_method": method,
        "send_initial_metadata": send_initial_metadata,
        "set_compression": set_compression,
    }
    return type(kind.__name__, (kind,), namespace)


class SyncDriver:
    """Accepts the RPCs of one server that have run for ``after`` seconds."""

    def __init__(self, after: float) -> None:
        self._alarm = timers().alarm(self.wake)
        self.queue: AcceptQueue[SyncScope] = AcceptQueue(after, self._alarm.arm)

    def describe(self) -> str:
        """Return what the alarm is for."""
        return f"RPCs to be accepted after {self.queue.after:g} s"

    def wake(self) -> None:
        """Accept what is due. Runs on the timer thread."""
        for scope in self.queue.due(clock()):
            context = scope.context
            if context is not None:
                try:
                    _accept(context)
                except Exception as error:
                    _faults.record("server.accept", error)


def _accept(context: Any) -> None:
    if context.is_active() and context._accept_early():
        method = context._early_method
        method.server.tell(RpcAccepted(clock(), method.path))
