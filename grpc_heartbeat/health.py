"""The health board: what this process says about itself, to heartbeats and to ``grpc.health.v1`` alike."""

from __future__ import annotations

import threading
from collections.abc import Callable

from grpc_heartbeat import _faults
from grpc_heartbeat.core.frames import ServingStatus

Listener = Callable[[str, ServingStatus], object]


class HealthBoard:
    """Serving statuses by service name; ``""`` is the whole process. Every method may be called from any thread.

    A board begins with ``""`` serving. :meth:`drain` is final: everything is ``NOT_SERVING`` from then on and later calls of
    :meth:`set` are ignored, because a process that leaves must not be talked back into service.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._statuses = {"": ServingStatus.SERVING}
        self._draining: str | None = None
        self._listeners: tuple[Listener, ...] = ()
        self._drain_hooks: tuple[Callable[[str], object], ...] = ()
        self._closers: tuple[Callable[[], object], ...] = ()

    def set(self, service: str, serving: bool | ServingStatus) -> None:
        """Say whether ``service`` accepts work. Setting what is set already tells nobody.

        Raises:
            TypeError: ``serving`` is neither a boolean nor a ``ServingStatus``.
        """
        status = _status(serving)
        with self._lock:
            if self._draining is None:
                self._put(service, status)

    def status(self, service: str = "") -> ServingStatus:
        """Return what was said about ``service``; ``UNKNOWN`` if nothing was."""
        return self._statuses.get(service, ServingStatus.UNKNOWN)

    def statuses(self) -> dict[str, ServingStatus]:
        """Return all statuses by service name."""
        with self._lock:
            return dict(self._statuses)

    def drain(self, reason: str = "") -> None:
        """Leave service for good: ``NOT_SERVING`` everywhere, and heartbeat streams end with a goodbye.

        A stream of the asyncio stack says it at once, one of the synchronous stack with its next answer. Then stop the server
        with a grace period. ``reason`` is for people and travels in the goodbye.
        """
        with self._lock:
            if self._draining is not None:
                return
            for service in tuple(self._statuses):
                self._put(service, ServingStatus.NOT_SERVING)
            self._draining = reason
            hooks = self._drain_hooks
        for hook in hooks:
            _call("health.drain_hook", lambda hook=hook: hook(reason))  # type: ignore[misc]  # bound for this turn

    @property
    def draining(self) -> str | None:
        """The reason given to :meth:`drain`, or ``None`` while in service."""
        return self._draining

    def listen(self, listener: Listener) -> None:
        """Call ``listener(service, status)`` with every status there is now and with each change.

        Changes come in order, on the thread that made them, while the board is locked: a listener must not block.
        """
        with self._lock:
            self._listeners = (*self._listeners, listener)
            for service, status in self._statuses.items():
                _call("health.listener", lambda: listener(service, status))  # noqa: B023 - called at once

    def on_drain(self, hook: Callable[[str], object]) -> None:
        """Call ``hook(reason)`` when the board starts to drain; at once if it does already."""
        with self._lock:
            self._drain_hooks = (*self._drain_hooks, hook)
            reason = self._draining
        if reason is not None:
            _call("health.drain_hook", lambda: hook(reason))

    def on_close(self, closer: Callable[[], object]) -> None:
        """Call ``closer()`` in :meth:`close`."""
        with self._lock:
            self._closers = (*self._closers, closer)

    def close(self) -> None:
        """Release what the services on this board hold, their threads above all. Call it after the server has stopped."""
        with self._lock:
            closers, self._closers = self._closers, ()
            self._listeners = self._drain_hooks = ()
        for closer in closers:
            _call("health.close", closer)

    def _put(self, service: str, status: ServingStatus) -> None:
        if self._statuses.get(service) is status:
            return
        self._statuses[service] = status
        for listener in self._listeners:
            _call("health.listener", lambda listener=listener: listener(service, status))  # type: ignore[misc]  # bound for this turn


def _status(serving: object) -> ServingStatus:
    if isinstance(serving, ServingStatus):
        return serving
    if isinstance(serving, bool):
        return ServingStatus.SERVING if serving else ServingStatus.NOT_SERVING
    raise TypeError(f"serving must be a boolean or a ServingStatus, not {type(serving).__name__} ({serving!r})")


def _call(place: str, function: Callable[[], object]) -> None:
    try:
        function()
    except Exception as error:
        _faults.record(place, error)
