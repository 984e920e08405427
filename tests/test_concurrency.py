"""Fan-out and executors: pieces run in the caller's scope, and end together or apart as asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest

from grpc_heartbeat import deadline
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.scope import Reason, Scope
from tests.peers import PATIENCE, wait_until


class Call:
    """An outbound call in flight, as scopes see it."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.reason: Reason | None = None
        scope = current_scope.get()
        assert scope is not None
        scope.adopt(self)

    def scope_cancelled(self, scope: Scope) -> None:
        self.reason = scope.reason
        self.ended.set()


@pytest.fixture
def rpc() -> Iterator[Scope]:
    """A scope as a handler has it, made current."""
    scope = Scope(monotonic() + 100, "inherited:/a/b", "/a/b")
    token = current_scope.set(scope)
    yield scope
    current_scope.reset(token)


@pytest.fixture
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


def in_rpc(rpc_scope: Scope) -> None:
    current_scope.set(rpc_scope)


def test_work_of_a_scoped_executor_runs_in_the_scope_of_whoever_submits_it(rpc: Scope, pool: Executor) -> None:
    executor = deadline.ScopedExecutor(pool)
    assert executor.submit(current_scope.get).result() is rpc
    assert list(executor.map(lambda _: current_scope.get(), range(3))) == [rpc] * 3
    assert pool.submit(current_scope.get).result() is None
    with deadline.limit(5):
        inside = current_scope.get()
        assert executor.submit(current_scope.get).result() is inside
    assert executor.submit(divmod, 7, 2).result() == (3, 1)
    named = {"a": 1, "scope": 2, "function": 3}
    assert executor.submit(dict, **named).result() == named
    with deadline.shield():
        assert executor.submit(current_scope.get).result() is None


def test_what_the_work_raises_is_in_its_future(pool: Executor) -> None:
    error = deadline.ScopedExecutor(pool).submit(int, "x").exception()
    assert isinstance(error, ValueError)


def test_a_scoped_executor_shuts_its_executor_down() -> None:
    inner = ThreadPoolExecutor(1)
    release = threading.Event()
    with deadline.ScopedExecutor(inner) as executor:
        executor.submit(release.wait, PATIENCE)
        queued = executor.submit(int)
        executor.shutdown(wait=False, cancel_futures=True)
        assert queued.cancelled()
        release.set()
    with pytest.raises(RuntimeError, match="after shutdown"):
        inner.submit(int)


@pytest.mark.parametrize("wrong", [None, threading.Thread()])
def test_a_scoped_executor_wants_an_executor(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"executor must be a concurrent.futures.Executor, not"):
        deadline.ScopedExecutor(wrong)


def test_a_scoped_executor_does_not_take_processes() -> None:
    with ProcessPoolExecutor(1) as processes, pytest.raises(TypeError, match="executor must run its work in threads"):
        deadline.ScopedExecutor(processes)


async def give(value: Any, after: int = 0) -> Any:
    for _ in range(after):
        await asyncio.sleep(0)
    return value


async def fail(error: BaseException, after: int = 0) -> Any:
    for _ in range(after):
        await asyncio.sleep(0)
    raise error


async def last() -> Any:
    await asyncio.Event().wait()


async def test_results_come_in_the_order_of_the_pieces() -> None:
    done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    done.set_result("done")
    twice = asyncio.ensure_future(give("twice"))
    assert await deadline.gather(give(1, 5), give(2), done, twice, twice) == [1, 2, "done", "twice", "twice"]
    assert await deadline.gather() == []


async def test_pieces_are_independent_and_the_first_error_is_raised_when_all_have_ended() -> None:
    ended: list[str] = []

    async def slow() -> None:
        await give(None, 20)
        ended.append("slow")

    with pytest.raises(KeyError, match="first"):
        await deadline.gather(fail(ValueError("second"), 5), fail(KeyError("first"), 1), slow())
    assert ended == ["slow"]


async def test_errors_can_be_returned() -> None:
    error = ValueError()
    assert await deadline.gather(give(1), fail(error), return_exceptions=True) == [1, error]


async def test_the_first_error_calls_the_others_off_and_what_they_called(rpc: Scope) -> None:
    in_rpc(rpc)
    calls: list[Call] = []
    reasons: list[str | None] = []

    async def piece() -> None:
        calls.append(Call())
        try:
            await last()
        finally:
            reasons.append(deadline.reason())

    beside = Call()
    with pytest.raises(ValueError, match="broken"):
        await deadline.gather(piece(), piece(), fail(ValueError("broken"), 3), first_error_cancels=True)
    assert [call.reason for call in calls] == [Reason.PARENT] * 2
    assert reasons == ["parent"] * 2
    assert not beside.ended.is_set()
    assert deadline.reason() is None
    rpc.release(beside)
    assert not rpc.members


async def test_a_piece_that_is_cancelled_counts_as_failed() -> None:
    piece = asyncio.ensure_future(last())
    asyncio.get_running_loop().call_soon(piece.cancel)
    with pytest.raises(asyncio.CancelledError):
        await deadline.gather(piece, last(), first_error_cancels=True)


async def test_cancelling_the_waiting_cancels_all_pieces_and_waits_for_them(rpc: Scope) -> None:
    in_rpc(rpc)
    calls: list[Call] = []
    ended: list[str | None] = []
    both = asyncio.Event()

    async def piece() -> None:
        calls.append(Call())
        if len(calls) == 2:
            both.set()
        try:
            await last()
        finally:
            await give(None, 5)
            ended.append(deadline.reason())

    waiting = asyncio.ensure_future(deadline.gather(piece(), piece()))
    await both.wait()
    waiting.cancel()
    await asyncio.sleep(0)
    waiting.cancel()  # once more, while it waits for the pieces
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == ["parent"] * 2
    assert all(call.ended.is_set() for call in calls)


async def test_pieces_end_with_the_request_and_by_its_reason(rpc: Scope) -> None:
    in_rpc(rpc)
    reasons: list[str | None] = []

    async def piece() -> None:
        await asyncio.to_thread(Call().ended.wait, PATIENCE)
        reasons.append(deadline.reason())

    asyncio.get_running_loop().call_later(0.01, rpc.cancel, Reason.CLIENT_CANCELLED)
    await deadline.gather(piece(), piece())
    assert reasons == ["client_cancelled"] * 2


async def test_pieces_have_the_deadline_of_the_code_around_them(rpc: Scope) -> None:
    in_rpc(rpc)

    async def left() -> float:
        return deadline.remaining() or 0

    with deadline.limit(5):
        assert all(4 < each <= 5 for each in await deadline.gather(left(), left()))
    (outer,) = await deadline.gather(left())
    assert 99 < outer <= 100
    assert not rpc.members


async def test_calls_that_outlive_their_fan_out_end_with_the_request(rpc: Scope) -> None:
    in_rpc(rpc)

    async def start() -> Call:
        return Call()

    (call,) = await deadline.gather(start())
    assert not call.ended.is_set()
    rpc.cancel(Reason.CLIENT_CANCELLED)
    assert call.reason is Reason.CLIENT_CANCELLED


async def test_what_cannot_be_awaited_is_refused_before_anything_starts() -> None:
    piece = give(1)
    with pytest.raises(TypeError, match="awaitables must be awaitable; got int"):
        await deadline.gather(piece, 5)  # type: ignore[arg-type]  # the point of the test
    piece.close()


async def test_a_thousand_pieces_cost_no_timer_and_no_thread() -> None:
    threads = threading.active_count()
    with deadline.limit(50):
        assert await deadline.gather(*(give(number) for number in range(1000))) == list(range(1000))
    assert threading.active_count() == threads


def raising(error: Exception) -> Callable[[], Any]:
    def run() -> Any:
        raise error

    return run


def test_sync_results_come_in_the_order_of_the_pieces(rpc: Scope, pool: Executor) -> None:
    future: Future[str] = Future()
    threading.Timer(0.02, future.set_result, ("future",)).start()
    slow = threading.Event()
    results = deadline.gather_sync(lambda: slow.wait(0.01), future, lambda: 3, executor=pool)
    assert results == [False, "future", 3]
    assert deadline.gather_sync() == []
    assert not rpc.members


def test_sync_pieces_are_independent(pool: Executor) -> None:
    ended: list[bool] = []

    def slow() -> None:
        ended.append(threading.Event().wait(0.02))

    with pytest.raises(ValueError, match="broken"):
        deadline.gather_sync(raising(ValueError("broken")), slow, executor=pool)
    assert ended == [False]
    error = ValueError()
    assert deadline.gather_sync(raising(error), int, executor=pool, return_exceptions=True) == [error, 0]


def test_a_sync_error_calls_the_others_off(rpc: Scope) -> None:
    reasons: list[str | None] = []
    started = threading.Event()

    def piece() -> None:
        call = Call()
        started.set()
        assert call.ended.wait(PATIENCE)
        reasons.append(deadline.reason())

    def broken() -> None:
        started.wait(PATIENCE)
        raise ValueError("broken")

    with ThreadPoolExecutor(2) as two, pytest.raises(ValueError, match="broken"):
        deadline.gather_sync(
            piece, broken, *[raising(AssertionError("started"))] * 5, executor=two, first_error_cancels=True
        )
    assert reasons == ["parent"]
    assert deadline.reason() is None
    assert not rpc.members


def test_what_has_not_started_when_the_request_ends_does_not_start(rpc: Scope) -> None:
    started: list[int] = []
    release = threading.Event()

    def piece() -> None:
        started.append(1)
        rpc.cancel(Reason.CLIENT_CANCELLED)
        release.wait(0.05)

    with ThreadPoolExecutor(1) as one:
        results = deadline.gather_sync(*[piece] * 4, executor=one, return_exceptions=True)
    assert [type(each) for each in results] == [type(None), CancelledError, CancelledError, CancelledError]
    assert len(started) == 1


def test_sync_pieces_need_an_executor_or_must_be_futures(pool: Executor) -> None:
    with pytest.raises(TypeError, match="executor= is needed to run the function"):
        deadline.gather_sync(int)
    with pytest.raises(TypeError, match=r"work must be functions and futures, not int \(5\)"):
        deadline.gather_sync(int, 5, executor=pool)


def test_an_executor_that_refuses_leaves_nothing_behind(rpc: Scope) -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    future: Future[int] = Future()
    with pytest.raises(RuntimeError, match="after shutdown"):
        deadline.gather_sync(future, int, executor=pool)
    wait_until(future.cancelled)
    assert not rpc.members


async def test_an_error_says_more_than_a_cancel() -> None:
    piece = asyncio.ensure_future(last())
    piece.cancel()
    with pytest.raises(ValueError, match="broken"):
        await deadline.gather(piece, fail(ValueError("broken"), 5))


async def test_what_is_called_off_after_its_deadline_has_expired() -> None:
    calls: list[Call] = []

    async def piece() -> None:
        calls.append(Call())
        await last()

    with deadline.limit(0), pytest.raises(ValueError, match="broken"):
        await deadline.gather(piece(), fail(ValueError("broken"), 3), first_error_cancels=True)
    assert calls[0].reason is Reason.EXPIRED
