"""At the soft limit a degraded answer; the work goes on, bounded in time and number, and tells when it has ended."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat.aio
from grpc_heartbeat import deadline
from grpc_heartbeat.orchestrate import Background, answer_within, answer_within_sync
from tests.orchestrate.conftest import BOOK, Shop
from tests.peers import PATIENCE, wait_until

LONG = 1000.0
"""Seconds: a test that waits for so long has failed."""


async def test_what_is_quick_is_the_answer() -> None:
    async def work() -> str:
        return "whole"

    assert await answer_within(5.0, work, lambda: "degraded", hard=10.0) == "whole"


async def test_what_is_slow_goes_on_and_tells() -> None:
    background, go_on, ended = Background(), asyncio.Event(), asyncio.Event()
    results: list[Any] = []

    async def work() -> str:
        await go_on.wait()
        return "whole"

    def then(done: asyncio.Future[str]) -> None:
        results.append(done.result())
        ended.set()

    answer = await answer_within(0.02, work, lambda: "degraded", hard=PATIENCE, then=then, background=background)
    assert answer == "degraded"
    assert len(background) == 1
    go_on.set()
    await ended.wait()
    assert results == ["whole"]
    assert len(background) == 0


async def test_work_in_the_background_has_the_hard_limit_and_not_the_callers(shop: Shop) -> None:
    ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    async with grpc_heartbeat.aio.insecure_channel(shop.target) as channel:
        ask = channel.unary_unary(BOOK)

        async def work() -> bytes:
            return bytes(await ask(b"slow"))

        with deadline.limit(0.05):
            answer = await answer_within(LONG, work, lambda: b"degraded", hard=LONG, then=ended.set_result)
        assert answer == b"degraded"
        wait = asyncio.get_running_loop().run_in_executor
        await wait(None, lambda: wait_until(lambda: shop.asked))
        assert shop.remaining[0] is not None
        assert shop.remaining[0] > 1.0
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):  # the channel was closed
        (await ended).result()


async def test_the_hard_limit_ends_it() -> None:
    ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    await answer_within(0.01, asyncio.Event().wait, lambda: True, hard=0.05, then=ended.set_result)
    with pytest.raises(asyncio.TimeoutError):
        (await ended).result()


async def test_an_error_before_the_soft_limit_is_raised_and_one_behind_it_is_told() -> None:
    ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def work() -> str:
        raise KeyError

    go_on = asyncio.Event()

    async def late() -> str:
        await go_on.wait()
        raise KeyError

    with pytest.raises(KeyError):
        await answer_within(5.0, work, lambda: "degraded", hard=6.0)
    assert await answer_within(0.01, late, lambda: "degraded", hard=6.0, then=ended.set_result) == "degraded"
    go_on.set()
    assert isinstance((await ended).exception(), KeyError)


async def test_too_much_of_it_is_called_off() -> None:
    background, cancelled, all_cancelled = Background(1), list[int](), asyncio.Event()

    async def work(number: int) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(number)
            if len(cancelled) == 3:
                all_cancelled.set()
        return ""

    for number in range(3):
        answer = await answer_within(0.01, partial(work, number), str, hard=0.2, background=background)
        assert answer == ""
    await all_cancelled.wait()
    assert cancelled == [1, 2, 0]  # the first by its hard limit


async def test_work_that_answers_its_calling_off_by_an_error_is_nobodys_alarm() -> None:
    alarms: list[dict[str, Any]] = []
    loop, full, ended = asyncio.get_running_loop(), Background(1), asyncio.Event()
    full.take(loop.create_future())
    loop.set_exception_handler(lambda _, context: alarms.append(context))

    async def work() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set()
            raise KeyError from None
        return ""

    assert await answer_within(0.01, work, str, hard=LONG, background=full) == ""
    await ended.wait()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
    loop.set_exception_handler(None)
    assert alarms == []


async def test_whoever_is_cancelled_while_it_waits_cancels_the_work() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return ""

    task = asyncio.ensure_future(answer_within(5.0, work, str, hard=LONG))
    await begun.wait()
    task.cancel()
    await cancelled.wait()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_so_it_is_in_threads(shop: Shop, ask: Any) -> None:
    ended, background, told = threading.Event(), Background(), list[Future[Any]]()

    def then(done: Future[Any]) -> None:
        told.append(done)
        ended.set()

    with ThreadPoolExecutor(2) as pool:
        assert answer_within_sync(5.0, lambda: ask(b"x"), bytes, hard=6.0, executor=pool) == b"x"
        with deadline.limit(5.0):
            answer = answer_within_sync(
                0.05,
                lambda: ask(b"slow"),
                lambda: b"degraded",
                hard=0.5,
                executor=pool,
                then=then,
                background=background,
            )
        assert answer == b"degraded"
        assert len(background) == 1
        assert ended.wait(PATIENCE)
        wait_until(lambda: len(background) == 0)
    error = told[0].exception()
    assert isinstance(error, grpc.Call)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # the hard limit


def test_what_there_is_too_much_of_loses_its_calls_in_threads(shop: Shop, ask: Any) -> None:
    full = Background(1)
    full.take(Future())
    with ThreadPoolExecutor(1) as pool:
        answer = answer_within_sync(
            0.05, lambda: ask(b"slow"), lambda: b"degraded", hard=LONG, executor=pool, background=full
        )
        assert answer == b"degraded"
    wait_until(lambda: shop.cut == 1)


@pytest.mark.parametrize(("soft", "hard"), [(-1.0, 1.0), (2.0, 1.0), (0.1, float("inf"))])
def test_wrong_limits_are_refused(soft: float, hard: float) -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match=r"soft|hard"):
        answer_within_sync(soft, str, str, hard=hard, executor=pool)
    with pytest.raises(ValueError, match="most"):
        Background(0)
