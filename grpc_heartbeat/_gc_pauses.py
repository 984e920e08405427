"""The garbage collector's pauses, told to whom they concern. While it collects, no Python code of this process runs.

Theory of operation. One callback of ``gc`` serves the whole process. It is there while somebody watches, and costs each
collection two readings of a clock. It runs in the midst of whatever made the collector run, with that code's locks held, so a
watcher must only store what it is told. Watchers are held weakly: the callback does not outlive the last of them for long.
"""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from typing import Any, Protocol

SHORTEST = 0.005
"""Seconds. A shorter pause is told to nobody: it is no more than what waiting for a processor costs."""


class GcWatcher(Protocol):
    """Somebody whom pauses concern."""

    def gc_paused(self, seconds: float) -> None:
        """Note that the process has not run for the last ``seconds``. No locks here, and nothing that may raise."""


_lock = threading.Lock()
_watchers: tuple[weakref.ref[GcWatcher], ...] = ()
_began = 0.0


def watch(watcher: GcWatcher) -> None:
    """Tell ``watcher`` of pauses from now on."""
    global _watchers
    with _lock:
        _watchers = (*(known for known in _watchers if known() is not None), weakref.ref(watcher))
        if _hear not in gc.callbacks:
            gc.callbacks.append(_hear)


def unwatch(watcher: GcWatcher) -> None:
    """Tell it no more; who was told nothing so far may be unwatched, too."""
    with _lock:
        _forget(watcher)


def watchers() -> list[GcWatcher]:
    """Return who is told of pauses, for leak checks."""
    return [watcher for known in _watchers if (watcher := known()) is not None]


def _hear(phase: str, _: dict[str, Any]) -> None:
    global _began
    now = time.monotonic()
    if phase == "start":
        _began = now
    elif now - _began >= SHORTEST:
        told = watchers()
        for watcher in told:
            watcher.gc_paused(now - _began)
        if not told and _lock.acquire(blocking=False):  # this thread itself may hold it
            try:
                _forget(None)
            finally:
                _lock.release()


def _forget(watcher: GcWatcher | None) -> None:
    """Drop ``watcher`` and those that are no more, and with the last of them the callback. The lock is held."""
    global _watchers
    _watchers = tuple(known for known in _watchers if known() not in (None, watcher))
    if not _watchers and _hear in gc.callbacks:
        gc.callbacks.remove(_hear)


def _after_fork_in_child() -> None:
    """The parent's watchers are the parent's."""
    global _watchers, _lock
    _watchers = ()
    _lock = threading.Lock()
    if _hear in gc.callbacks:
        gc.callbacks.remove(_hear)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
