"""The asyncio stack's half of docs/conformance.md, cell by cell.

The channels of a module live on a loop in a thread, and so do its calls; each test leaves that loop without tasks.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from time import monotonic
from typing import Any

import grpc.aio
import pytest

from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.scope import Reason, Scope
from tests import leaks
from tests.conformance.check import check_ended, check_left_alone, check_over
from tests.conformance.installs_aio import INSTALLATIONS, traced
from tests.conformance.outcome import Outcome
from tests.conformance.paths_aio import PATHS, Path, make
from tests.conformance.peers import BIG, Server
from tests.conformance.policy import LATE, LENIENT, LIMIT, POLICY, method, pairs
from tests.conformance.table import Cell, cells
from tests.peers import PATIENCE, LoopThread

CELLS = cells("aio")
BLIND = (4, 6)
"""The notes about who cannot see whether there is a connection, or whether the headers have come."""
UNUSABLE = 7
"""The note about a call path that somebody else's interceptor makes unusable: a limit there has nothing to harm."""
_tokens = map(str, itertools.count())

Channels = dict[str, grpc.aio.Channel]
Outcomes = dict[Cell, Future[Outcome]]

each_that_works = pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.works], ids=str)
each_that_does_not = pytest.mark.parametrize(
    "cell", [cell for cell in CELLS if not cell.works and cell.note != UNUSABLE], ids=str
)


@pytest.fixture(scope="module")
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture(scope="module")
def channels(server: Server, loop: LoopThread) -> Iterator[Channels]:
    """Return a connected channel for each installation."""

    async def connect() -> Channels:
        opened = {name: install(server.target, POLICY) for name, install in INSTALLATIONS.items()}
        for channel in opened.values():
            assert (await make(PATHS["unary-unary"], channel, "/any.Quick/UnaryUnary", [b""])).error is None
        return opened

    async def disconnect(opened: Channels) -> None:
        for channel in opened.values():
            await channel.close()

    opened = loop.run(connect())
    yield opened
    loop.run(disconnect(opened))


@pytest.fixture(autouse=True)
def no_new_tasks(loop: LoopThread, channels: Channels) -> Iterator[None]:
    """Fail a test that leaves tasks of its own on the loop."""

    async def living() -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks() - {asyncio.current_task()}

    async def still(before: set[asyncio.Task[Any]]) -> list[str]:
        new = await living() - before
        if new:
            _, new = await asyncio.wait(new, timeout=leaks.PATIENCE)
        return [leaks.describe_task(task) for task in new]

    before = loop.run(living())
    yield
    assert loop.run(still(before)) == []


async def late(cell: Cell, path: Path, channel: grpc.aio.Channel, scope: Scope | None, **kwargs: Any) -> Outcome:
    """Make a call that the cell's limit must end."""
    current_scope.set(scope)
    requests = itertools.repeat(BIG) if cell.limit == "write" else [b"x"]
    name = method(cell.limit, LATE.get(cell.limit, "Hold"), path.kind)
    outcome = await make(path, channel, name, requests, **kwargs)
    assert scope is None or not scope.members
    return outcome


async def unconnected(cell: Cell, path: Path, target: str) -> Outcome:
    channel = INSTALLATIONS[cell.installation](target, POLICY)
    outcome = await make(path, channel, method(cell.limit, LATE[cell.limit], path.kind), [b"x"])
    await channel.close()
    return outcome


@each_that_works
def test_a_limit_ends_the_call(
    cell: Cell, server: Server, channels: Channels, loop: LoopThread, silent_port: str
) -> None:
    path = PATHS[cell.path]
    if cell.limit == "connect":
        check_ended(cell, path.kind, loop.run(unconnected(cell, path, silent_port)))
        return
    token = next(_tokens)
    watched = server.watch(token)
    scope = None
    if cell.limit.startswith("scope"):
        deadline = monotonic() + LIMIT if cell.limit == "scope expiry" else None
        scope = Scope(deadline, "inherited:/front.End/Buy", "/front.End/Buy")
    call = late(cell, path, channels[cell.installation], scope, metadata=(("token", token),))
    ended = asyncio.run_coroutine_threadsafe(call, loop.loop)
    if scope is not None and cell.limit == "scope cancel":
        assert watched.started.wait(PATIENCE)
        assert scope.cancel(Reason.CLIENT_CANCELLED) == []
    check_ended(cell, path.kind, ended.result(PATIENCE))
    check_over(watched)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.limit == "header" and cell.works], ids=str)
def test_a_call_that_had_to_wait_for_its_connection_is_ended(cell: Cell, server: Server, loop: LoopThread) -> None:
    path = PATHS[cell.path]
    check_ended(cell, path.kind, loop.run(unconnected(cell, path, server.target)))


async def punctual(cell: Cell, channels: Channels) -> Outcome:
    """Make a call that lasts longer than its limit, though nothing in it is late."""
    path = PATHS[cell.path]
    behavior = "Quick" if cell.limit in ("total", "scope expiry") else "Slow"
    channel = channels[cell.installation]
    name = method(cell.limit, behavior, path.kind)
    if cell.limit.startswith("scope"):
        scope = Scope(monotonic() + PATIENCE, "inherited:/front.End/Buy", "/front.End/Buy")
        current_scope.set(scope)
        outcome = await make(path, channel, name, [b"x"])
        await asyncio.sleep(0)
        assert not scope.members, "the scope still holds a call that is done"
        assert scope.cancel(Reason.CLIENT_CANCELLED) == []
        return outcome
    if cell.limit == "write":
        return await make(path, channel, name, slow_producer())
    pauses = iter([LENIENT + 0.1])

    async def consumer() -> None:
        await asyncio.sleep(next(pauses, 0))  # sleep: a consumer that is slower than the limit must not be punished

    return await make(path, channel, name, [b"x"], consumer if cell.limit == "idle" else None)


async def slow_producer() -> AsyncIterator[bytes]:
    yield BIG
    await asyncio.sleep(LENIENT + 0.1)  # sleep: a producer that is slower than the limit must not be punished
    for _ in range(14):
        yield BIG


@pytest.fixture(scope="module")
def punctual_outcomes(channels: Channels, loop: LoopThread) -> Outcomes:
    """Make all punctual calls of all cells, those of two installations at a time, so that they do not slow one another."""
    outcomes: dict[Cell, Any] = {}

    async def all_of(pair: list[str]) -> None:
        mine = [cell for cell in CELLS if cell.installation in pair and cell.note != UNUSABLE]
        tasks = [asyncio.create_task(punctual(cell, channels)) for cell in mine]
        await asyncio.wait(tasks)
        outcomes.update(zip(mine, tasks, strict=True))

    for pair in pairs([*INSTALLATIONS]):
        loop.run(all_of(pair))
    return outcomes


@pytest.fixture
def left_alone(cell: Cell, punctual_outcomes: Outcomes, channels: Channels, loop: LoopThread) -> Outcome:
    """Return how the cell's punctual call ended. What failed beside all the others is called once more, by itself."""
    together = punctual_outcomes[cell].result()
    return together if together.error is None else loop.run(punctual(cell, channels))


@each_that_works
def test_a_punctual_call_is_left_alone(left_alone: Outcome) -> None:
    check_left_alone(left_alone)


@each_that_does_not
def test_a_limit_that_cannot_work_does_no_harm(left_alone: Outcome) -> None:
    check_left_alone(left_alone)


def test_the_unusable_path_hangs_without_us_too(server: Server, loop: LoopThread) -> None:
    async def call() -> bool:
        channel = grpc.aio.insecure_channel(server.target, interceptors=traced())
        path = PATHS["stream-unary write()"]
        task = asyncio.create_task(make(path, channel, "/any.Quick/StreamUnary", [b"x"]))
        await asyncio.wait([task], timeout=0.3)
        hangs = not task.done()
        task.cancel()
        await channel.close()
        await asyncio.wait([task])
        return hangs

    assert {cell.path for cell in CELLS if cell.note == UNUSABLE} == {"stream-unary write()"}
    assert loop.run(call()), "it works: take the note off the page and test the path"


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.note in BLIND and not cell.works], ids=str)
def test_the_page_is_not_too_modest(cell: Cell, server: Server, loop: LoopThread, silent_port: str) -> None:
    path = PATHS[cell.path]

    async def call() -> Outcome:
        channel = INSTALLATIONS[cell.installation](silent_port if cell.limit == "connect" else server.target, POLICY)
        name = method(cell.limit, LATE[cell.limit], path.kind)
        outcome = await make(path, channel, name, [b"x"], timeout=3 * LIMIT)
        await channel.close()
        return outcome

    outcome = loop.run(call())
    assert outcome.status is not None
    assert outcome.status.name == "DEADLINE_EXCEEDED"
    assert outcome.facts is None or outcome.facts.layer == "total"
