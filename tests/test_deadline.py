"""The public ``deadline`` module: what is left, and how a scope is tightened, left and carried."""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest

from grpc_heartbeat import deadline
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.scope import Reason, Scope


def test_without_a_scope_there_is_no_limit() -> None:
    assert deadline.remaining() is None
    assert deadline.reason() is None


def test_limits_nest_by_minimum() -> None:
    with deadline.limit(100):
        with deadline.limit(1000):
            assert 99 < (deadline.remaining() or 0) <= 100
        with deadline.limit(1):
            assert 0 < (deadline.remaining() or 0) <= 1
        assert 99 < (deadline.remaining() or 0) <= 100
    assert deadline.remaining() is None


def test_shield_leaves_the_scope_for_a_block() -> None:
    with deadline.limit(1):
        with deadline.shield():
            assert deadline.remaining() is None
        assert deadline.remaining() is not None


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
def test_limit_refuses_what_is_no_duration(seconds: float) -> None:
    with pytest.raises(ValueError, match="limit must be at least 0"), deadline.limit(seconds):
        pass


def test_reason_says_why_the_request_is_no_longer_wanted() -> None:
    with deadline.limit(0):
        assert deadline.reason() == "expired"
        assert deadline.remaining() == 0
    scope = Scope(None, "inherited:/a/b")
    token = current_scope.set(scope)
    assert deadline.reason() is None
    scope.cancel(Reason.CLIENT_CANCELLED)
    assert deadline.reason() == "client_cancelled"
    current_scope.reset(token)


def test_a_finished_scope_limits_nothing() -> None:
    scope = Scope(monotonic() - 1, "inherited:/a/b")
    scope.finish()
    token = current_scope.set(scope)
    assert deadline.remaining() is None
    assert deadline.reason() is None
    with deadline.limit(50):
        assert (deadline.remaining() or 0) > 49
    current_scope.reset(token)


def test_bind_carries_the_scope_into_another_thread_and_leaves_nothing_there() -> None:
    seen: list[float | None] = []

    def look(extra: float) -> None:
        seen.append(deadline.remaining())

    with deadline.limit(100):
        bound = deadline.bind(look)
    assert bound.__name__ == "look"

    def run() -> None:
        bound(1.0)
        seen.append(deadline.remaining())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen[0] is None  # the scope was finished when its block ended
    assert seen[1] is None

    with deadline.limit(100):
        thread = threading.Thread(target=deadline.bind(look), args=(1.0,))
        thread.start()
        thread.join()
    assert 99 < (seen[2] or 0) <= 100


def test_what_is_bound_may_have_arguments_of_any_name() -> None:
    assert deadline.bind(dict)(scope=1, function=2) == {"scope": 1, "function": 2}


async def test_a_bound_coroutine_function_is_one_and_runs_in_the_scope_in_any_task() -> None:
    with deadline.limit(100):
        bound = deadline.bind(_look)
        assert inspect.iscoroutinefunction(bound)
        with deadline.shield():
            assert (await bound() or 0) > 99
            assert deadline.remaining() is None


async def test_scopes_travel_into_tasks_and_threads_of_asyncio() -> None:
    with deadline.limit(100):
        in_task = asyncio.ensure_future(_look())
        in_thread = asyncio.to_thread(deadline.remaining)
        for remaining in await asyncio.gather(in_task, in_thread):
            assert remaining is not None
            assert remaining > 99


async def _look() -> float | None:
    return deadline.remaining()


async def test_a_generator_that_is_finalised_elsewhere_harms_nothing() -> None:
    async def generate() -> AsyncIterator[Any]:
        with deadline.limit(100):
            yield deadline.remaining()
            yield 2

    generator = generate()
    assert (await generator.__anext__()) > 99
    await asyncio.ensure_future(_close(generator))


async def _close(generator: Any) -> None:
    await generator.aclose()


def test_work_left_behind_by_a_block_has_the_deadline_of_the_request_and_ends_with_it() -> None:
    rpc = Scope(monotonic() + 100, "inherited:/a/b", "/a/b")
    token = current_scope.set(rpc)
    with deadline.limit(1):
        left = deadline.bind(deadline.remaining)
        why = deadline.bind(deadline.reason)
        assert 0 < (left() or 0) <= 1
    assert 99 < (left() or 0) <= 100
    assert why() is None
    rpc.cancel(Reason.CLIENT_CANCELLED)
    assert why() == "client_cancelled"
    current_scope.reset(token)
    finished = Scope(monotonic() + 100, "inherited:/a/b", "/a/b")
    token = current_scope.set(finished)
    with deadline.limit(1):
        left = deadline.bind(deadline.remaining)
    finished.finish()
    assert left() is None
    current_scope.reset(token)


def test_a_reason_inside_a_block_is_the_requests_when_the_block_has_time_left() -> None:
    rpc = Scope(monotonic() + 100, "inherited:/a/b", "/a/b")
    token = current_scope.set(rpc)
    with deadline.limit(50):
        assert deadline.reason() is None
        with deadline.limit(0):
            assert deadline.reason() == "expired"
        rpc.cancel(Reason.DRAINING)
        assert deadline.reason() == "draining"
    current_scope.reset(token)
