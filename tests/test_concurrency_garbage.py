"""The error of a fan-out goes away when it has been dealt with, without a garbage collection."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from grpc_heartbeat import deadline
from tests.peers import wait_until


class PieceError(Exception):
    """An error that can be referred to weakly."""


@pytest.fixture(autouse=True)
def no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def _fail() -> None:
    await asyncio.sleep(0)
    raise PieceError


async def _gathered() -> weakref.ref[Exception]:
    try:
        await deadline.gather(_fail(), asyncio.sleep(0))
    except PieceError as error:
        return weakref.ref(error)
    raise AssertionError("it did not fail")


async def test_of_coroutines() -> None:
    error = await _gathered()
    await asyncio.sleep(0)
    assert error() is None


def _fail_in_thread() -> None:
    raise PieceError


def test_of_functions() -> None:
    errors: list[weakref.ref[PieceError]] = []
    with ThreadPoolExecutor(2) as pool:
        try:
            deadline.gather_sync(_fail_in_thread, int, executor=pool)
        except PieceError as raised:
            errors.append(weakref.ref(raised))
        wait_until(lambda: errors[0]() is None)
