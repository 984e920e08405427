"""A thread pool that never keeps a process alive and never refuses work.

gRPC runs a handler on the pool that the handler names, if it is a ``ThreadPoolExecutor``. The standard one does not suit
handlers that wait on streams for hours: the interpreter joins its threads at exit, so that one open heartbeat would keep the
process from ending, and it raises after ``shutdown``, which would kill gRPC's only serving thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import Any

from grpc_heartbeat import _faults


class DaemonPool(ThreadPoolExecutor):
    """Runs functions on daemon threads, at most ``max_workers`` at a time, the others in turn.

    Args:
        linger: Seconds that an idle thread waits for more work before it ends. Default 0.
    """

    def __init__(self, max_workers: int, name: str, *, linger: float = 0.0) -> None:
        super().__init__(max_workers, thread_name_prefix=name)
        self._limit = max_workers
        self._name = name
        self._linger = linger
        self._condition = threading.Condition()
        self._work: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._workers: set[threading.Thread] = set()
        self._idle = 0
        self._released = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn`` as soon as a thread is free. Accepted after :meth:`shutdown` too; the threads just don't linger then."""
        future: Future[Any] = Future()
        with self._condition:
            self._work.append((future, lambda: fn(*args, **kwargs)))
            if self._idle >= len(self._work):
                self._condition.notify()
            elif len(self._workers) < self._limit:
                self._start_worker()
        return future

    def _start_worker(self) -> None:
        """Start a thread, which waits for the lock that is held now."""
        worker = threading.Thread(target=self._serve, name=f"{self._name}-worker", daemon=True)
        try:
            worker.start()
        except RuntimeError as error:  # the system has none left: the work waits for one, or for the next that comes
            _faults.record("pool.thread", error)
        else:
            self._workers.add(worker)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let idle threads end now. With ``wait``, wait a second at most for all others."""
        with self._condition:
            self._released = True
            self._condition.notify_all()
            workers = tuple(self._workers) if wait else ()
        end = monotonic() + 1.0
        for worker in workers:
            if worker is not threading.current_thread():
                worker.join(max(0.0, end - monotonic()))

    def _serve(self) -> None:
        while (item := self._next()) is not None:
            future, work = item
            if future.set_running_or_notify_cancel():
                _run(future, work)
            del item, future, work

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._condition:
            if not self._work and self._linger and not self._released:
                self._idle += 1
                self._condition.wait_for(lambda: self._work or self._released, self._linger)
                self._idle -= 1
            if self._work:
                return self._work.popleft()
            self._workers.discard(threading.current_thread())
            return None


def _run(future: Future[Any], work: Callable[[], Any]) -> None:
    try:
        result = work()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
