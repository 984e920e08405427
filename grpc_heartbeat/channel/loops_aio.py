"""What asyncio does not say in one word: which loop runs here, how to reach one from anywhere, whether a task is to cancel."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, or ``None``."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def on_loop(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: Any) -> None:
    """Call ``function`` on the loop soon, from any thread; a loop that is closed has no calls any more."""
    try:
        if loop is running_loop():
            loop.call_soon(function, *args)
        else:
            loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise


COUNTS_CANCELS = sys.version_info >= (3, 11)
"""Whether a task knows how often it was asked to cancel."""

if sys.version_info >= (3, 11):

    def cancel_requests(loop: asyncio.AbstractEventLoop | None = None) -> int:
        """Return how often the current task was asked to cancel. Python 3.10 does not tell: there it is always 0.

        To find out which ``loop`` runs costs more than the rest.
        """
        task = asyncio.current_task(loop)
        return 0 if task is None else task.cancelling()

    def forget_cancel_request(task: asyncio.Task[Any]) -> None:
        """Take back a request to cancel ``task`` that was of our making."""
        task.uncancel()
else:

    def cancel_requests(_: asyncio.AbstractEventLoop | None = None) -> int:
        """Return how often the current task was asked to cancel. Python 3.10 does not tell: there it is always 0."""
        return 0

    def forget_cancel_request(task: asyncio.Task[Any]) -> None:
        """Do nothing: Python 3.10 does not count."""
