"""Run a coroutine as a test: on a loop of its own, with no task left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests import leaks

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` on a fresh loop and return its result. For tests that cannot be ``async def``, such as hypothesis's.

    Raises:
        LeakError: ``main`` returned, but tasks that it started go on.
    """
    return asyncio.run(_without_leaks(main))


async def _without_leaks(main: Coroutine[Any, Any, T]) -> T:
    result = await main
    await leaks.end_of_tasks()
    return result
