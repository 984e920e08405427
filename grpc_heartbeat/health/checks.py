"""Runs dependency checks: off the request path, off the event loop where they would block it, and never two runs at a time.

The process's timer thread says when. A coroutine function that was added on an event loop runs there, because its clients
belong to that loop. Everything else runs on a daemon thread of its own for each run: a check that hangs then holds up nobody
else. An awaitable that such a function returns is awaited on the loop on which the check was added, else on one made for it.

No check runs in the context of a request: neither its deadline nor its span reach the calls that a check makes.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from grpc_heartbeat._timers import clock, timers
from grpc_heartbeat.core.frames import ServingStatus
from grpc_heartbeat.core.health_checks import CheckPlan, CheckReport, CheckSchedule

CheckFunction: TypeAlias = Callable[[], Any]
Show: TypeAlias = Callable[[CheckPlan, ServingStatus], None]

_log = logging.getLogger("grpc_heartbeat.health")


class RunningCheck:
    """One check that is run until :meth:`stop`.

    Args:
        show: Called after each change of the check's status, from any thread.
    """

    def __init__(self, plan: CheckPlan, function: CheckFunction, show: Show) -> None:
        self._plan = plan
        self._function = function
        self._show = show
        self._lock = threading.RLock()
        self._schedule = CheckSchedule(plan, clock())
        self._shown = ServingStatus.UNKNOWN
        self._stopped = False
        self._stop_run: Callable[[], object] | None = None
        self._loop = _running_loop()
        self._alarm = timers().alarm(self._wake)

    @property
    def report(self) -> CheckReport:
        """What is known about the check now."""
        return self._schedule.report

    def start(self) -> None:
        """Run it for the first time."""
        self._wake()

    def stop(self) -> None:
        """Run it no more. A run on a loop is cancelled; one on a thread ends when it ends and counts no more."""
        with self._lock:
            self._stopped = True
            self._alarm.cancel()
            stop_run, self._stop_run = self._stop_run, None
        if stop_run is not None:
            stop_run()

    def _wake(self) -> None:
        with self._lock:
            if self._stopped:
                return
            late = self._schedule.overdue
            run = self._schedule.wake(clock())
            stop_run = self._stop_run if self._schedule.overdue and not late else None
            self._settle()
        if run is not None:
            try:
                self._start_run(run)
            except RuntimeError as error:  # no thread is left, or the loop was closed just now
                self._finished(run, _describe(error))
        elif stop_run is not None:
            stop_run()

    def _finished(self, run: int, error: str | None) -> None:
        with self._lock:
            if self._stopped:
                return
            self._schedule.finished(run, error, clock())
            self._settle()

    def _settle(self) -> None:
        """Show the status if it is new and set the alarm. The lock is held, so that statuses are shown in order."""
        wakeup = self._schedule.next_wakeup()
        if wakeup is not None:
            self._alarm.arm(wakeup)
        status = self._schedule.status
        if status is not self._shown:
            self._shown = status
            _tell(self._plan, self._schedule.report)
            self._show(self._plan, status)

    def _start_run(self, run: int) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed() and inspect.iscoroutinefunction(self._function):
            loop.call_soon_threadsafe(self._start_task, run, context=contextvars.Context())
        else:
            # A new Context, because newer interpreters let threads inherit that of whoever starts them.
            name = f"grpc-heartbeat check {self._plan.name}"
            target = contextvars.Context().run
            threading.Thread(target=target, args=(self._run_on_thread, run), name=name, daemon=True).start()

    def _start_task(self, run: int) -> None:
        task = asyncio.ensure_future(_outcome_of(self._function))
        loop = asyncio.get_running_loop()
        with self._lock:
            self._stop_run = lambda: None if loop.is_closed() else loop.call_soon_threadsafe(task.cancel)
            if self._stopped or self._schedule.overdue:  # the loop had no time for it
                task.cancel()
        task.add_done_callback(lambda task: self._finished(run, "cancelled" if task.cancelled() else task.result()))

    def _run_on_thread(self, run: int) -> None:
        self._finished(run, self._outcome())

    def _outcome(self) -> str | None:
        try:
            answer = self._function()
            if inspect.isawaitable(answer):
                answer = self._await(answer)
        except BaseException as error:  # a check that exits its thread has failed too
            return _describe(error)
        return _judge(answer)

    def _await(self, awaitable: Awaitable[Any]) -> Any:
        bounded = _within(awaitable, self._plan.timeout)
        loop = self._loop
        if loop is not None and not loop.is_closed():
            return asyncio.run_coroutine_threadsafe(bounded, loop).result()
        return asyncio.run(bounded)


async def _outcome_of(function: CheckFunction) -> str | None:
    try:
        answer = await function()
    except Exception as error:
        return _describe(error)
    return _judge(answer)


async def _within(awaitable: Awaitable[Any], seconds: float) -> Any:
    try:
        return await asyncio.wait_for(awaitable, seconds)
    except asyncio.TimeoutError:
        raise TimeoutError(f"no answer within {seconds:g} s") from None


def _judge(answer: object) -> str | None:
    """Return why ``answer`` means that the dependency is not well; ``None`` if it is."""
    if answer is None or answer is True or answer is ServingStatus.SERVING:
        return None
    if answer is False or isinstance(answer, ServingStatus):
        return f"the check returned {answer!r}"
    return f"a check returns None, a boolean or a ServingStatus, not {type(answer).__name__}"


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _tell(plan: CheckPlan, report: CheckReport) -> None:
    weight = "critical" if plan.critical else "not critical"
    if report.status is ServingStatus.SERVING:
        _log.info("check %r (%s) is well", plan.name, weight)
    else:
        _log.warning("check %r (%s) fails: %s", plan.name, weight, report.error)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
