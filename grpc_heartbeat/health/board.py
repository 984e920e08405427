"""The health board: what this process says about itself, to heartbeats and to ``grpc.health.v1`` alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from grpc_heartbeat import _faults
from grpc_heartbeat.config import check_seconds
from grpc_heartbeat.core.frames import ServingStatus
from grpc_heartbeat.core.health_board import WHOLE, Changes, Statuses
from grpc_heartbeat.core.health_checks import CheckPlan, CheckReport
from grpc_heartbeat.health.checks import CheckFunction, RunningCheck
from grpc_heartbeat.health.drain import Drain
from grpc_heartbeat.health.followed import FollowedBreaker
from grpc_heartbeat.health.official import follow

if TYPE_CHECKING:
    from grpc_heartbeat.heartbeat.held import HeldStreams

Listener = Callable[[str, ServingStatus], object]


class HealthBoard:
    """Serving statuses by service name. Every method may be called from any thread.

    Known from the start, and serving: ``liveness``, whether the process works at all, and ``""`` and ``readiness``, whether it
    accepts work. The last two always say the same: the worst of all that was said about any of the three, and of their checks.

    :meth:`drain` is final: everything is ``NOT_SERVING`` from then on and later calls of :meth:`set` are refused, because a
    process that leaves must not be talked back into service.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._statuses = Statuses()
        self._checks: dict[str, RunningCheck | FollowedBreaker] = {}
        self._draining: str | None = None
        self._leaving: str | None = None
        self._drain: Drain | None = None
        self._listeners: tuple[Listener, ...] = ()
        self._drain_hooks: tuple[Callable[[str], object], ...] = ()
        self._leave_hooks: tuple[Callable[[str], object], ...] = ()
        self._closers: tuple[Callable[[], object], ...] = ()
        self.heartbeats: tuple[HeldStreams, ...] = ()
        """The heartbeat streams of each server that this board was added to: ``engine``, ``report()`` and ``observers``."""

    def set(self, service: str, serving: bool | ServingStatus) -> bool:
        """Say whether ``service`` accepts work. Setting what is set already tells nobody.

        Returns:
            Whether that was taken; ``False`` once the board drains.

        Raises:
            TypeError: ``service`` is not a string, or ``serving`` neither a boolean nor a ``ServingStatus``.
            ValueError: ``service`` holds lone surrogates, which no request can name.
        """
        name, status = _name("service", service), _status(serving)
        with self._lock:
            if self._draining is not None:
                return False
            self._publish(self._statuses.set(name, status))
            return True

    def status(self, service: str = WHOLE) -> ServingStatus:
        """Return what ``service`` shows; ``UNKNOWN`` if nothing was said about it."""
        return self._statuses.status(service) or ServingStatus.UNKNOWN

    def find(self, service: str) -> ServingStatus | None:
        """Return what ``service`` shows; ``None`` if nothing was said about it, neither by :meth:`set` nor by a check."""
        return self._statuses.status(service)

    def statuses(self) -> dict[str, ServingStatus]:
        """Return all statuses by service name."""
        return self._statuses.all()

    def add_check(
        self,
        name: str,
        check: CheckFunction,
        *,
        ttl: float = 10.0,
        timeout: float = 2.0,
        critical: bool = True,
        failures: int = 1,
        services: Iterable[str] = (WHOLE,),
    ) -> None:
        """Run ``check`` now and every ``ttl`` seconds, and let its result count. Requests never wait for it.

        Until its first result a critical check makes its services ``UNKNOWN``. Results are in :meth:`checks`, and a change is
        logged. A board that drains runs no checks.

        Args:
            name: Of the dependency, for people.
            check: A function without arguments, plain or ``async``. The dependency is well if it returns ``None``, ``True`` or
                ``SERVING``, and not if it returns something else or raises. Plain functions run on a thread. A coroutine
                function that is added on an event loop runs on that loop, another one on a loop of its own.
            ttl: Seconds from the start of one run to that of the next. Default 10.
            timeout: Seconds that a run may take. Default 2.
            critical: Whether a failure counts for ``services``. Default: it does; ``False`` only reports.
            failures: Failures in a row that count as one. Default 1.
            services: The names that it counts for; one that is new becomes known. Default: ``""``, and so ``readiness``.

        Raises:
            TypeError: an argument of the wrong type.
            ValueError: a value out of its range, or a ``name`` that is taken.
        """
        plan = _plan(name, check, ttl, timeout, critical, failures, services)
        self._add(plan, RunningCheck(plan, check, self._take))

    def follow(
        self, channel: Any, *, name: str | None = None, critical: bool = True, services: Iterable[str] = (WHOLE,)
    ) -> None:
        """Let the breaker of ``channel`` count as a check: well while it is closed. Nothing is asked; its heartbeats know.

        Args:
            channel: One that was made with ``breaker=``.
            name: Of the dependency, for people, for :meth:`checks` and :meth:`remove_check`. Default: the channel's.
            critical, services: As for :meth:`add_check`.

        Raises:
            TypeError: ``channel`` has no breaker, or an argument is of the wrong type.
            ValueError: a ``name`` that is taken.
        """
        breaker = getattr(channel, "breaker", None)
        if breaker is None:
            raise TypeError("channel must have been made with breaker=")
        plan = _plan(name or channel.heartbeat.name, breaker.listen, 1.0, 1.0, critical, 1, services)
        self._add(plan, FollowedBreaker(plan, breaker, self._take))

    def _add(self, plan: CheckPlan, running: RunningCheck | FollowedBreaker) -> None:
        with self._lock:
            if plan.name in self._checks:
                raise ValueError(f"there is a check named {plan.name!r} already; remove_check it first")
            if self._draining is not None:
                return
            self._checks[plan.name] = running
            self._take(plan, ServingStatus.UNKNOWN)
        running.start()

    def remove_check(self, name: str) -> None:
        """Run the check ``name`` no more and let it count no more; unknown names are ignored."""
        with self._lock:
            check = self._checks.pop(name, None)
            if check is None:
                return
            self._publish(self._statuses.forget_check(name))
        check.stop()

    def checks(self) -> dict[str, CheckReport]:
        """Return what is known of each check now, by name."""
        with self._lock:
            return {name: check.report for name, check in self._checks.items()}

    def drain(self, reason: str = "", *, probe_period: float = 0.0) -> Drain:
        """Leave service for good: ``NOT_SERVING`` everywhere now; after ``probe_period`` long streams end with a goodbye.

        Between the two, load balancers and probes have the time to notice, and requests are served as before. Afterwards
        health watches end, heartbeat streams get a goodbye and end, and ``server.stop(grace)`` has to wait for requests only::

            board.drain("new version", probe_period=5).wait()    # on an event loop: await board.drain(…)
            server.stop(30).wait()

        Calling it again keeps the first reason and can only shorten the wait. A signal handler may call it.

        Args:
            reason: For people; travels in the goodbyes, in which what UTF-8 cannot hold becomes ``?``. Default: none.
            probe_period: Seconds, from 0. As long as the slowest prober takes to ask again. Default 0: end the streams now.

        Returns:
            The drain, to wait for the end of the probe period: ``.wait()``, or ``await`` it.

        Raises:
            TypeError, ValueError: ``probe_period`` is not a number of seconds, or ``reason`` not a string.
        """
        reason = _string("reason", reason).encode("utf-8", "replace").decode()
        probe_period = check_seconds("probe_period", probe_period, inclusive=True)
        with self._lock:
            hooks: tuple[Callable[[str], object], ...] = ()
            if self._drain is None:
                self._draining = reason
                self._drain = Drain(self._leave)
                self._publish(self._statuses.drain())
                hooks = self._drain_hooks
            drain, checks = self._drain, tuple(self._checks.values())
        for check in checks:
            check.stop()
        for hook in hooks:
            _call("health.drain_hook", hook, reason)
        drain.leave_within(probe_period)
        return drain

    @property
    def draining(self) -> str | None:
        """The reason given to :meth:`drain`, or ``None`` while in service."""
        return self._draining

    @property
    def leaving(self) -> str | None:
        """The same, but ``None`` until the probe period is over: from then on long streams are to end."""
        return self._leaving

    def listen(self, listener: Listener) -> None:
        """Call ``listener(service, status)`` with every status there is now and with each change.

        Changes come in order, on the thread that made them, while the board is locked: a listener must not block.
        """
        with self._lock:
            self._listeners = (*self._listeners, listener)
            for service, status in self._statuses.all().items():
                self._tell(listener, service, status)

    def mirror(self, servicer: Any) -> None:
        """Keep a health servicer of grpcio-health-checking, of either stack, in step with this board.

        For servers that have it already: add our services with ``add_to_server(…, health=False)`` and leave that one as it is.
        For an asyncio servicer call this on its event loop.

        Raises:
            TypeError: ``servicer`` has no ``set`` method.
            RuntimeError: an asyncio servicer, and no loop is running.
        """
        self.listen(follow(servicer))

    def on_drain(self, hook: Callable[[str], object]) -> None:
        """Call ``hook(reason)`` when the board starts to drain; at once if it does already."""
        with self._lock:
            self._drain_hooks = (*self._drain_hooks, hook)
            reason = self._draining
        if reason is not None:
            _call("health.drain_hook", hook, reason)

    def on_leave(self, hook: Callable[[str], object]) -> None:
        """Call ``hook(reason)`` when the probe period of a drain is over; at once if it is already. It must not block."""
        with self._lock:
            self._leave_hooks = (*self._leave_hooks, hook)
            reason = self._leaving
        if reason is not None:
            _call("health.leave_hook", hook, reason)

    def on_close(self, closer: Callable[[], object]) -> None:
        """Call ``closer()`` in :meth:`close`."""
        with self._lock:
            self._closers = (*self._closers, closer)

    def close(self) -> None:
        """Release what this board and its services hold: checks, timers, threads. Call it after the server has stopped."""
        with self._lock:
            closers, self._closers = self._closers, ()
            checks = tuple(self._checks.values())
            self._checks.clear()
            self._listeners = self._drain_hooks = self._leave_hooks = ()
            drain = self._drain
        for check in checks:
            check.stop()
        if drain is not None:
            drain.leave()
        for closer in closers:
            _call("health.close", closer)

    def _take(self, plan: CheckPlan, status: ServingStatus) -> None:
        with self._lock:
            if plan.critical and plan.name in self._checks:
                self._publish(self._statuses.check(plan.name, plan.services, status))

    def _publish(self, changes: Changes) -> None:
        for service, status in changes.items():
            for listener in self._listeners:
                self._tell(listener, service, status)

    def _tell(self, listener: Listener, service: str, status: ServingStatus) -> None:
        """Tell of ``status``, unless a signal handler or another listener has changed it since, and told of that."""
        if self._statuses.status(service) is status:
            _call("health.listener", listener, service, status)

    def _leave(self) -> None:
        with self._lock:
            self._leaving = reason = self._draining or ""
            hooks = self._leave_hooks
        for hook in hooks:
            _call("health.leave_hook", hook, reason)


def _plan(
    name: object,
    check: object,
    ttl: object,
    timeout: object,
    critical: object,
    failures: object,
    services: Iterable[str],
) -> CheckPlan:
    if not callable(check):
        raise TypeError(f"check must be a function without arguments, not {type(check).__name__}")
    if not isinstance(critical, bool):
        raise TypeError(f"critical must be a boolean, not {type(critical).__name__}")
    if isinstance(failures, bool) or not isinstance(failures, int):
        raise TypeError(f"failures must be an integer, not {type(failures).__name__}")
    if failures < 1:
        raise ValueError(f"failures must be at least 1; got {failures}")
    if isinstance(services, str):
        raise TypeError(f"services must be several names, as in ({services!r},), not one string")
    names = frozenset(_name("services", service) for service in services)
    if not names:
        raise ValueError("services must name at least one service; use critical=False for a check that only reports")
    return CheckPlan(
        _name("name", name), check_seconds("ttl", ttl), check_seconds("timeout", timeout), critical, failures, names
    )


def _name(argument: str, value: object) -> str:
    name = _string(argument, value)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{argument} must be text that UTF-8 can hold, without lone surrogates; got {value!r}"
        ) from None
    return name


def _string(argument: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a string, not {type(value).__name__} ({value!r})")
    return value


def _status(serving: object) -> ServingStatus:
    if isinstance(serving, ServingStatus):
        return serving
    if isinstance(serving, bool):
        return ServingStatus.SERVING if serving else ServingStatus.NOT_SERVING
    raise TypeError(f"serving must be a boolean or a ServingStatus, not {type(serving).__name__} ({serving!r})")


def _call(place: str, function: Callable[..., object], *args: object) -> None:
    try:
        function(*args)
    except Exception as error:
        _faults.record(place, error)
