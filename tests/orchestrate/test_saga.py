"""Sagas: all steps, or what was done is undone, newest first, whatever ended the saga."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import grpc_heartbeat
import grpc_heartbeat.aio
from grpc_heartbeat import Timeouts, deadline
from grpc_heartbeat.orchestrate import AsyncSaga, Saga, Undone
from grpc_heartbeat.orchestrate.saga import may_be_done
from tests.aiorun import run
from tests.orchestrate.conftest import BOOK, Shop


def test_when_all_is_done_nothing_is_undone(shop: Shop, ask: Any) -> None:
    with Saga(limit=5.0) as saga:
        assert saga.step(lambda: ask(b"one"), lambda result: ask(b"undo " + result)) == b"one"
        saga.step(lambda: ask(b"two"), lambda result: ask(b"undo " + result))
    assert shop.asked == ["one", "two"]
    assert not saga.undone
    assert all(left is not None and left <= 5.05 for left in shop.remaining)


def test_what_was_done_is_undone_newest_first(shop: Shop, ask: Any) -> None:
    saga = Saga()

    def order() -> None:
        with saga:
            saga.step(lambda: ask(b"one"), lambda result: ask(b"undo " + result), name="first")
            saga.step(lambda: ask(b"two"))
            saga.step(lambda: ask(b"three"), lambda result: ask(b"undo " + result))
            saga.step(lambda: ask(b"refuse"), lambda result: ask(b"undo refused"))

    with pytest.raises(grpc.RpcError) as caught:
        order()
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert shop.asked == ["one", "two", "three", "refuse", "undo three", "undo one"]
    assert saga.undone == [Undone("step 3", True, None), Undone("first", True, None)]
    assert not saga.failures


def test_a_step_whose_time_was_up_may_be_done_and_is_undone_with_time_of_its_own(shop: Shop, ask: Any) -> None:
    saga, undone_with = Saga(limit=0.2, undo_limit=3.0), []

    def order() -> None:
        with saga:
            saga.step(lambda: ask(b"one"), lambda result: ask(b"undo " + result))
            saga.step(lambda: ask(b"slow"), lambda result: undone_with.append((result, deadline.remaining())))

    with pytest.raises(grpc.RpcError) as caught:
        order()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    ((result, left),) = undone_with
    assert result is None
    assert left is not None
    assert 1.0 < left <= 3.0
    assert shop.asked == ["one", "slow", "undo one"]
    assert [(undone.name, undone.sure) for undone in saga.undone] == [("step 2", False), ("step 1", True)]


def test_a_step_that_was_never_sent_is_not_undone(ask: Any) -> None:
    with grpc_heartbeat.insecure_channel("127.0.0.1:1", timeouts=Timeouts(connect=0.1)) as dead:
        call, saga = dead.unary_unary(BOOK), Saga()
        with pytest.raises(grpc.RpcError) as caught, saga:
            saga.step(lambda: call(b"x", wait_for_ready=True), lambda _: ask(b"undo"))
        assert not may_be_done(caught.value)
    assert not saga.undone


def test_a_compensation_that_fails_keeps_no_other_from_running(
    shop: Shop, ask: Any, caplog: pytest.LogCaptureFixture
) -> None:
    saga = Saga()

    def order() -> None:
        with saga:
            saga.step(lambda: ask(b"one"), lambda result: ask(b"undo " + result))
            saga.step(lambda: ask(b"two"), lambda _: ask(b"refuse"), name="second")
            raise KeyError

    with pytest.raises(KeyError):
        order()
    assert shop.asked == ["one", "two", "refuse", "undo one"]
    (failure,) = saga.failures
    assert failure.name == "second"
    assert isinstance(failure.error, grpc.RpcError)
    assert "'second' of a saga could not be undone" in caplog.text


async def test_so_it_is_with_coroutines(shop: Shop) -> None:
    async with grpc_heartbeat.aio.insecure_channel(shop.target) as channel:
        ask, saga = channel.unary_unary(BOOK), AsyncSaga(limit=0.3)

        async def order() -> None:
            async with saga:
                assert await saga.step(lambda: ask(b"one"), lambda result: ask(b"undo " + result)) == b"one"
                await saga.step(lambda: ask(b"two"), lambda _: ask(b"refuse"))
                await saga.step(lambda: ask(b"slow"), lambda result: ask(b"undo slow"))

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await order()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert shop.asked == ["one", "two", "slow", "undo slow", "refuse", "undo one"]
    assert [failure.name for failure in saga.failures] == ["step 2"]


async def test_a_task_that_is_cancelled_undoes_all_the_same() -> None:
    undone, begun, go_on = list[str](), asyncio.Event(), asyncio.Event()

    async def nothing() -> None:
        return None

    async def undo(name: str) -> None:
        begun.set()
        await go_on.wait()
        undone.append(name)

    async def work() -> None:
        async with AsyncSaga() as saga:
            await saga.step(nothing, lambda _: undo("one"))
            await saga.step(nothing, lambda _: undo("two"))
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await begun.wait()
    task.cancel()  # impatient
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == ["two", "one"]


async def test_a_compensation_that_hangs_is_ended_by_its_limit() -> None:
    async def nothing() -> None:
        return None

    saga = AsyncSaga(undo_limit=0.05)

    async def order() -> None:
        async with saga:
            await saga.step(nothing, lambda _: asyncio.Event().wait())
            raise KeyError

    with pytest.raises(KeyError):
        await order()
    (failure,) = saga.failures
    assert isinstance(failure.error, asyncio.TimeoutError)


STEPS = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=8)


@given(steps=STEPS, fails_at=st.integers(0, 9))
def test_exactly_what_was_done_is_undone(steps: list[tuple[bool, bool]], fails_at: int) -> None:
    """Each step has a compensation or none, and that fails or not."""

    def drive(saga: Saga, undone: list[int]) -> None:
        with saga:
            for number, (undoable, fails) in enumerate(steps):
                if number == fails_at:
                    raise KeyError

                def undo(_: object, number: int = number, fails: bool = fails) -> None:
                    undone.append(number)
                    if fails:
                        raise ValueError

                saga.step(lambda: None, undo if undoable else None)

    saga, undone = Saga(), list[int]()
    if fails_at < len(steps):
        with pytest.raises(KeyError):
            drive(saga, undone)
    else:
        drive(saga, undone)
    done = [number for number, (undoable, _) in enumerate(steps[:fails_at]) if undoable]
    assert undone == (list(reversed(done)) if fails_at < len(steps) else [])
    assert len(saga.failures) == sum(steps[number][1] for number in undone)


@given(steps=STEPS)
def test_so_it_is_with_random_coroutines(steps: list[tuple[bool, bool]]) -> None:
    async def drive() -> tuple[list[int], AsyncSaga]:
        undone, saga = list[int](), AsyncSaga()

        async def nothing() -> None:
            await asyncio.sleep(0)

        async def undo(number: int, fails: bool) -> None:
            undone.append(number)
            if fails:
                raise ValueError

        async def order() -> None:
            async with saga:
                for number, (undoable, fails) in enumerate(steps):
                    compensation = (lambda _, n=number, f=fails: undo(n, f)) if undoable else None
                    await saga.step(nothing, compensation)
                raise KeyError

        with pytest.raises(KeyError):
            await order()
        return undone, saga

    undone, saga = run(drive())
    assert undone == [number for number, (undoable, _) in reversed(list(enumerate(steps))) if undoable]
    assert len(saga.failures) == sum(steps[number][1] for number in undone)


@pytest.mark.parametrize("kind", [Saga, AsyncSaga])
@pytest.mark.parametrize(("arguments", "word"), [((-1.0,), "limit"), ((float("nan"),), "limit")])
def test_wrong_limits_are_refused(kind: Any, arguments: tuple[float, ...], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        kind(*arguments)
    with pytest.raises(ValueError, match="undo_limit"):
        kind(undo_limit=0.0)
