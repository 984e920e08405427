"""The one end of a connection."""

from __future__ import annotations

import asyncio

import pytest

from grpc_heartbeat.strategies.link import Link
from grpc_heartbeat.strategies.reasons import reason_of

GONE = ConnectionResetError("gone")


async def test_the_first_failure_is_told_once() -> None:
    link, told = Link(), list[Exception]()
    link.tell(told.append)
    link.fail(GONE)
    link.fail(ConnectionResetError("gone again"))
    assert told == [GONE]
    assert link.over


async def test_a_failure_of_a_moment_ago_is_told_to_who_comes_later() -> None:
    link, told = Link(), list[Exception]()
    link.fail(GONE)
    link.tell(told.append)
    assert told == [GONE]


async def test_what_comes_after_the_connection_was_given_up_is_no_news() -> None:
    link, told = Link(), list[Exception]()
    link.tell(told.append)
    link.end()
    link.fail(GONE)
    assert told == []


async def test_who_waits_for_an_answer_gets_it_or_the_failure() -> None:
    link = Link()
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    answer.get_loop().call_soon(answer.set_result, 42)
    assert await link.until(answer) == 42
    never: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    never.get_loop().call_soon(link.fail, GONE)
    with pytest.raises(ConnectionResetError, match="gone"):
        await link.until(never)
    assert await link.until(answer) == 42


def test_reasons_fit_in_a_line() -> None:
    assert reason_of(OSError("Multiple exceptions:\n [Errno 111], [Errno 111]")) == (
        "Multiple exceptions: [Errno 111], [Errno 111]"
    )
    assert reason_of(OSError(2, "x")) == "No such file or directory"
    assert reason_of(EOFError()) == "EOFError"
