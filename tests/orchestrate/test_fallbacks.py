"""A fallback takes the place of what does not come to an end in time, while somebody waits, and of nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat.aio
from grpc_heartbeat import deadline
from grpc_heartbeat.orchestrate import fallback, fallback_sync
from tests.orchestrate.conftest import BOOK, Shop


def test_what_ends_in_time_needs_none(ask: Any) -> None:
    assert fallback_sync(lambda: ask(b"x"), lambda _: b"instead", limit=5.0) == b"x"


def test_what_takes_too_long_is_replaced_within_what_is_left(shop: Shop, ask: Any) -> None:
    errors = []

    def instead(error: BaseException) -> Any:
        errors.append(error)
        return ask(b"cache")

    with deadline.limit(5.0):
        assert fallback_sync(lambda: ask(b"slow"), instead, limit=0.1) == b"cache"
    (error,) = errors
    assert isinstance(error, grpc.Call)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    first, second = shop.remaining
    assert first is not None
    assert second is not None
    assert first <= 0.1
    assert 1.0 < second <= 5.0


def test_an_error_that_is_the_callers_is_raised(ask: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        fallback_sync(lambda: ask(b"refuse"), lambda _: b"instead")
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    codes = (grpc.StatusCode.FAILED_PRECONDITION,)
    assert fallback_sync(lambda: ask(b"refuse"), lambda _: b"instead", codes=codes) == b"instead"
    with pytest.raises(StopIteration):
        fallback_sync(lambda: next(iter([])), lambda _: b"instead")


def test_where_nobody_waits_any_more_the_error_is_raised(shop: Shop, ask: Any) -> None:
    with deadline.limit(0.1), pytest.raises(grpc.RpcError):
        fallback_sync(lambda: ask(b"slow"), lambda _: b"instead", limit=5.0)
    assert shop.asked == ["slow"]


async def test_so_it_is_with_coroutines(shop: Shop) -> None:
    async with grpc_heartbeat.aio.insecure_channel(shop.target) as channel:
        ask = channel.unary_unary(BOOK)
        assert await fallback(lambda: ask(b"x"), lambda _: ask(b"cache"), limit=5.0) == b"x"
        assert await fallback(lambda: ask(b"slow"), lambda _: ask(b"cache"), limit=0.1) == b"cache"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await fallback(lambda: ask(b"refuse"), lambda _: ask(b"cache"))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_whatever_a_coroutine_waits_for_ends_at_its_limit() -> None:
    async def instead(error: BaseException) -> str:
        return type(error).__name__

    waited = asyncio.Event()
    assert await fallback(waited.wait, instead, limit=0.05) == asyncio.TimeoutError.__name__


async def test_a_cancel_is_no_failure() -> None:
    async def instead(_: BaseException) -> bool:
        raise AssertionError

    task = asyncio.ensure_future(fallback(asyncio.Event().wait, instead, limit=5.0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
