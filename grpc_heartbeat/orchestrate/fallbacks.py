"""A piece of work with a limit, and what is done instead if it does not come to an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import grpc

from grpc_heartbeat import deadline

T = TypeVar("T")

FAILS = frozenset((grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED))
"""The codes that say that the peer could not serve, not that what was asked of it was wrong."""


def fallback_sync(
    work: Callable[[], T],
    instead: Callable[[BaseException], T],
    *,
    limit: float | None = None,
    codes: Collection[grpc.StatusCode] = FAILS,
) -> T:
    """Return ``work()``, or ``instead(error)`` if a call in it failed because its peer could not serve it in time.

    Nobody waits for the answer once the inbound RPC is over: then the error is raised.

    Args:
        limit: Seconds for the calls of ``work``, within what is left of the current deadline. What is done instead has what is
            left after it. Default: the current deadline alone.
        codes: Those of the errors after which there is a way round. Default: ``FAILS``.

    Raises:
        TypeError, ValueError: ``limit`` is not a number of seconds.
        Exception: what ``work`` raised that is none of these, or ``instead``.
    """
    try:
        with _limited(limit):
            return work()
    except grpc.RpcError as error:
        if not _way_round(error, codes):
            raise
        return instead(error)


async def fallback(
    work: Callable[[], Awaitable[T]],
    instead: Callable[[BaseException], Awaitable[T]],
    *,
    limit: float | None = None,
    codes: Collection[grpc.StatusCode] = FAILS,
) -> T:
    """Do what ``fallback_sync`` does with coroutines. ``work`` is cancelled at its ``limit``, whatever it waits for."""
    try:
        with _limited(limit):
            return await asyncio.wait_for(work(), limit)
    except (grpc.RpcError, asyncio.TimeoutError) as error:
        if not _way_round(error, codes):
            raise
        return await instead(error)


def _limited(limit: float | None) -> AbstractContextManager[None]:
    return nullcontext() if limit is None else deadline.limit(limit)


def _way_round(error: BaseException, codes: Collection[grpc.StatusCode]) -> bool:
    """Tell whether there is a way round this error, and somebody who still waits."""
    if deadline.reason() is not None and deadline.reason() != "draining":
        return False
    return not isinstance(error, grpc.RpcError) or (isinstance(error, _STATUS) and error.code() in codes)


_STATUS = (grpc.Call, grpc.aio.AioRpcError)
