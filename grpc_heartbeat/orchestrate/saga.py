"""Several calls that are all done, or undone: a saga, with one budget for its steps and time of its own for undoing.

H. Garcia-Molina and K. Salem, "Sagas", SIGMOD 1987: a long transaction is a row of short ones, each with a compensation; if one
fails, the compensations of those before it run in the opposite order.

Theory of operation. A step that returned is *done*. One that failed is *unsure* unless its error says that nothing was carried
out: it was never sent, or the server refused what was asked. Both are undone. A compensation gets what its step returned,
``None`` for one that is unsure, and has to bear that nothing was done. It runs without the deadline and the cancellation of
the inbound RPC, which may be why it runs, and within a limit of its own. One that fails keeps no other from running.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from grpc_heartbeat import deadline
from grpc_heartbeat.config import check_seconds
from grpc_heartbeat.errors import timeout_of

T = TypeVar("T")

_log = logging.getLogger("grpc_heartbeat.orchestrate")

_MAYBE = frozenset(
    (
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    )
)
"""The codes that leave open whether a call was carried out. The others are what servers say when they refuse."""

_NEVER_SENT = ("connect", "breaker")


@dataclass(frozen=True, slots=True)
class Undone:
    """A step that was undone, or that could not be.

    Attributes:
        name: The step's.
        sure: Whether the step was done; else it may have been.
        error: What its compensation raised; ``None`` if it is undone.
    """

    name: str
    sure: bool
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class _Step:
    name: str
    sure: bool
    result: Any
    undo: Callable[[Any], Any]


class _Steps:
    """What both kinds of saga share.

    Args:
        limit: Seconds for all steps together, within the current deadline. Default: the current deadline alone.
        undo_limit: Seconds for the calls of each compensation. Default 5.

    Attributes:
        undone: What was undone, in that order; empty while all is well.

    Raises:
        TypeError, ValueError: a limit is not a number of seconds.
    """

    def __init__(self, limit: float | None = None, *, undo_limit: float = 5.0) -> None:
        if limit is not None:
            check_seconds("limit", limit, inclusive=True)
        self._limit = limit
        self._undo_limit = check_seconds("undo_limit", undo_limit)
        self._taken = 0
        self._steps: list[_Step] = []
        self._limited = ExitStack()
        self.undone: list[Undone] = []

    @property
    def failures(self) -> list[Undone]:
        """What could not be undone: somebody has to look at it."""
        return [undone for undone in self.undone if undone.error is not None]

    def _begin(self) -> None:
        if self._limit is not None:
            self._limited.enter_context(deadline.limit(self._limit))

    def _name(self, name: str) -> str:
        self._taken += 1
        return name or f"step {self._taken}"

    def _did(self, name: str, result: Any, undo: Callable[[Any], Any] | None) -> None:
        if undo is not None:
            self._steps.append(_Step(name, True, result, undo))

    def _failed(self, name: str, error: BaseException, undo: Callable[[Any], Any] | None) -> None:
        if undo is not None and may_be_done(error):
            self._steps.append(_Step(name, False, None, undo))

    def _note(self, step: _Step, error: BaseException | None) -> None:
        self.undone.append(Undone(step.name, step.sure, error))
        if error is not None:
            _log.error("the step %r of a saga could not be undone: %r", step.name, error)


class Saga(_Steps):
    """A saga of synchronous code, as a context manager: when its block raises, what was done is undone, and the error raised.

    ``limit`` and ``undo_limit`` are seconds: for all steps together, within the current deadline (default: that alone), and
    for the calls of each compensation (default 5). ``undone`` tells what was undone, ``failures`` what could not be.
    """

    def __enter__(self) -> Saga:
        self._begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._limited.close()
        while error is not None and self._steps:
            step = self._steps.pop()
            with deadline.shield(), deadline.limit(self._undo_limit):
                try:
                    step.undo(step.result)
                except Exception as failure:
                    self._note(step, failure)
                else:
                    self._note(step, None)

    def step(self, work: Callable[[], T], undo: Callable[[Any], object] | None = None, *, name: str = "") -> T:
        """Return ``work()``; ``undo(result)`` undoes it if the saga fails later, or now and nobody knows how far it got.

        Args:
            undo: Gets what ``work`` returned, or ``None`` if that is not known; it has to bear that nothing was done, and that
                it is done twice. Default: there is nothing to undo.
            name: Of the step. Default: its number.
        """
        name = self._name(name)
        try:
            result = work()
        except BaseException as error:
            self._failed(name, error, undo)
            raise
        self._did(name, result, undo)
        return result


class AsyncSaga(_Steps):
    """A saga of coroutines; else as ``Saga``. A task that is cancelled finishes undoing before it ends.

    Each compensation is cancelled ``undo_limit`` seconds after it began, whatever it waits for.
    """

    async def __aenter__(self) -> AsyncSaga:
        self._begin()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._limited.close()
        if error is None or not self._steps:
            return
        undoing, cancelled = asyncio.ensure_future(self._undo()), False
        while not undoing.done():
            try:
                await asyncio.shield(undoing)
            except asyncio.CancelledError:
                cancelled = True
        undoing.result()
        if cancelled and not isinstance(error, asyncio.CancelledError):
            raise asyncio.CancelledError

    async def step(
        self,
        work: Callable[[], Awaitable[T]],
        undo: Callable[[Any], Awaitable[object]] | None = None,
        *,
        name: str = "",
    ) -> T:
        """Await ``work()``; else as ``Saga.step``."""
        name = self._name(name)
        try:
            result = await work()
        except BaseException as error:
            self._failed(name, error, undo)
            raise
        self._did(name, result, undo)
        return result

    async def _undo(self) -> None:
        while self._steps:
            step = self._steps.pop()
            with deadline.shield(), deadline.limit(self._undo_limit):
                try:
                    await asyncio.wait_for(step.undo(step.result), self._undo_limit)
                except (Exception, asyncio.CancelledError) as failure:
                    self._note(step, failure)
                else:
                    self._note(step, None)


def may_be_done(error: BaseException) -> bool:
    """Tell whether what ended with this error may have been carried out all the same."""
    facts = timeout_of(error)
    if facts is not None and facts.layer in _NEVER_SENT:
        return False
    if isinstance(error, grpc.RpcError) and isinstance(error, (grpc.Call, grpc.aio.AioRpcError)):
        return error.code() in _MAYBE
    return True
