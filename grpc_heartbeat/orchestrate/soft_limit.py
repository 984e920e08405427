"""A degraded answer at the soft limit, while the work goes on in the background, until it ends or its hard limit comes.

Who waits gets an answer in time; who did the work gets to use it: to fill a cache, or to tell the user later on. What goes on
in the background is bounded: when there is too much of it, work is called off at its soft limit instead.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as WaitTimeoutError
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar

from grpc_heartbeat import _faults, deadline
from grpc_heartbeat._current import current_scope, restore
from grpc_heartbeat.config import check_count, check_seconds
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.executors import run_in

T = TypeVar("T")

SOURCE = "background"
"""The source of the deadline of work that may go on in the background: its hard limit."""


class Background:
    """What goes on in the background, at most ``most`` pieces at a time. Default 100. Safe to be used by several threads.

    Raises:
        TypeError, ValueError: ``most`` is not a number of at least 1.
    """

    def __init__(self, most: int = 100) -> None:
        check_count("most", most)
        self._most = most
        self._pieces: set[Any] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._pieces)

    def take(self, piece: asyncio.Future[Any] | Future[Any]) -> bool:
        """Keep ``piece`` until it has ended; False if there are too many already."""
        with self._lock:
            if len(self._pieces) >= self._most:
                return False
            self._pieces.add(piece)
        piece.add_done_callback(self._forget)
        return True

    def _forget(self, piece: Any) -> None:
        with self._lock:
            self._pieces.discard(piece)


BACKGROUND = Background()
"""What is used where none is given."""


async def answer_within(
    soft: float,
    work: Callable[[], Awaitable[T]],
    degraded: Callable[[], T],
    *,
    hard: float,
    then: Callable[[asyncio.Future[T]], object] | None = None,
    background: Background = BACKGROUND,
) -> T:
    """Return what ``work()`` comes to, if that is within ``soft`` seconds; else ``degraded()``, and ``work`` goes on.

    Work that goes on does not end with the inbound RPC, whose caller has been answered. Up to the soft limit it is cancelled
    with whoever waits for it here.

    Args:
        soft: Seconds to wait, at most what is left of the current deadline.
        hard: Seconds after which ``work`` is cancelled, from its start.
        then: Called with the future of ``work`` when that has ended in the background. It must be quick.
        background: Where it is counted. Default: with all others of this process, of which there may be 100.

    Raises:
        TypeError, ValueError: a limit is not a number of seconds, or ``hard`` is shorter than ``soft``.
        Exception: what ``work`` raised within the soft limit.
    """
    _check(soft, hard)
    with _detached(hard) as scope:
        task = asyncio.ensure_future(asyncio.wait_for(work(), hard))
    try:
        await asyncio.wait((task,), timeout=_wait(soft))
        if task.done():
            return task.result()
        if background.take(task):
            task.add_done_callback(lambda done: _tell(then, done))
        else:
            _call_off(scope, task)
        return degraded()
    except asyncio.CancelledError:
        _call_off(scope, task)
        raise


def answer_within_sync(
    soft: float,
    work: Callable[[], T],
    degraded: Callable[[], T],
    *,
    hard: float,
    executor: Executor,
    then: Callable[[Future[T]], object] | None = None,
    background: Background = BACKGROUND,
) -> T:
    """Do what ``answer_within`` does in a thread of ``executor``. Calls that ``work`` makes end at the hard limit."""
    _check(soft, hard)
    with _detached(hard) as scope:
        future = executor.submit(run_in, scope, work)
    try:
        return future.result(_wait(soft))
    except WaitTimeoutError:
        if future.done():  # it was the work that raised this
            raise
        if background.take(future):
            future.add_done_callback(lambda done: _tell(then, done))
        else:
            _call_off(scope, future)
        return degraded()


@contextmanager
def _detached(hard: float) -> Iterator[Scope]:
    """Make a scope current that has the hard limit for its deadline, and no parent."""
    scope = Scope(monotonic() + hard, SOURCE)
    token = current_scope.set(scope)
    try:
        yield scope
    finally:
        restore(token)


def _check(soft: float, hard: float) -> None:
    check_seconds("soft", soft, inclusive=True)
    if check_seconds("hard", hard) < soft:
        raise ValueError(f"hard must not be shorter than soft; got {hard!r} and {soft!r}")


def _wait(soft: float) -> float:
    left = deadline.remaining()
    return soft if left is None else min(soft, left)


def _call_off(scope: Scope, piece: asyncio.Future[Any] | Future[Any]) -> None:
    piece.add_done_callback(lambda done: _tell(None, done))  # who answers a cancel by an error tells nobody
    piece.cancel()
    for failure in scope.cancel(Reason.PARENT):
        _faults.record("orchestrate.cancel_member", failure)


def _tell(then: Callable[[Any], object] | None, piece: Any) -> None:
    """Tell of a piece that has ended; its error is seen by this, so that asyncio does not log it as nobody's."""
    if not piece.cancelled():
        piece.exception()
    if then is not None:
        try:
            then(piece)
        except Exception as error:
            _faults.record("orchestrate.then", error)
