"""The sync stack's half of docs/conformance.md, cell by cell."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from threading import Event
from time import monotonic
from typing import Any

import grpc
import pytest

from grpc_heartbeat import _grpcio
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.scope import Reason, Scope
from tests.conformance.check import check_ended, check_left_alone, check_over
from tests.conformance.installs_sync import INSTALLATIONS
from tests.conformance.outcome import Outcome
from tests.conformance.paths_sync import PATHS, make
from tests.conformance.peers import BIG, Server
from tests.conformance.policy import LATE, LENIENT, LIMIT, POLICY, method
from tests.conformance.table import Cell, cells
from tests.peers import PATIENCE

CELLS = cells("sync")
BLIND = 4
"""The note about who cannot see whether there is a connection."""
_tokens = map(str, itertools.count())

Channels = dict[tuple[str, Any], grpc.Channel]
Outcomes = dict[Cell, Future[Outcome]]


def works(cell: Cell) -> bool:
    """Tell whether the cell's limit works here, with or without grpcio's private names."""
    return cell.works and not (cell.by_private_names and _grpcio._PUBLIC_API_ONLY)


each_that_works = pytest.mark.parametrize("cell", [cell for cell in CELLS if works(cell)], ids=str)
each_that_does_not = pytest.mark.parametrize("cell", [cell for cell in CELLS if not works(cell)], ids=str)


@pytest.fixture(scope="module")
def channels(server: Server) -> Iterator[Channels]:
    """Return a connected channel for each installation and set of options."""
    with ExitStack() as stack:
        opened = {}
        for name, install in INSTALLATIONS.items():
            for options in sorted({path.options for path in PATHS.values()}):
                channel = stack.enter_context(install(server.target, POLICY, options))
                assert make(PATHS["unary-unary __call__"], channel, "/any.Quick/UnaryUnary", [b""]).error is None
                opened[name, options] = channel
        yield opened


def in_scope(scope: Scope | None, call: Callable[[], Outcome]) -> Outcome:
    token = current_scope.set(scope)
    try:
        return call()
    finally:
        current_scope.reset(token)


@each_that_works
def test_a_limit_ends_the_call(cell: Cell, server: Server, channels: Channels, silent_port: str) -> None:
    path = PATHS[cell.path]
    channel = channels[cell.installation, path.options]
    if cell.limit == "connect":
        with INSTALLATIONS[cell.installation](silent_port, POLICY, path.options) as unconnected:
            outcome = make(path, unconnected, method("connect", LATE["connect"], path.kind), [b"x"])
        check_ended(cell, path.kind, outcome)
        return
    token = next(_tokens)
    watched = server.watch(token)
    requests = itertools.repeat(BIG) if cell.limit == "write" else [b"x"]
    name = method(cell.limit, LATE.get(cell.limit, "Hold"), path.kind)
    call = partial(make, path, channel, name, requests, metadata=(("token", token),))
    if cell.limit == "scope cancel":
        scope = Scope(None, "inherited:/front.End/Buy", "/front.End/Buy")
        with ThreadPoolExecutor(1) as killer:
            killed = killer.submit(lambda: watched.started.wait(PATIENCE) and scope.cancel(Reason.CLIENT_CANCELLED))
            outcome = in_scope(scope, call)
            assert killed.result(PATIENCE) == []
        assert not scope.members
    elif cell.limit == "scope expiry":
        scope = Scope(monotonic() + LIMIT, "inherited:/front.End/Buy", "/front.End/Buy")
        outcome = in_scope(scope, call)
        assert not scope.members
    else:
        outcome = call()
    check_ended(cell, path.kind, outcome)
    check_over(watched)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.limit == "header" and works(cell)], ids=str)
def test_a_call_that_had_to_wait_for_its_connection_is_ended(cell: Cell, server: Server) -> None:
    path = PATHS[cell.path]
    with INSTALLATIONS[cell.installation](server.target, POLICY, path.options) as unconnected:
        outcome = make(path, unconnected, method("header", LATE["header"], path.kind), [b"x"])
    check_ended(cell, path.kind, outcome)


def punctual(cell: Cell, channels: Channels) -> Outcome:
    """Make a call that lasts longer than its limit, though nothing in it is late."""
    path = PATHS[cell.path]
    behavior = "Quick" if cell.limit in ("total", "scope expiry") else "Slow"
    channel = channels[cell.installation, path.options]
    name = method(cell.limit, behavior, path.kind)
    if cell.limit.startswith("scope"):
        scope = Scope(monotonic() + PATIENCE, "inherited:/front.End/Buy", "/front.End/Buy")
        outcome = in_scope(scope, lambda: make(path, channel, name, [b"x"]))
        assert not scope.members, "the scope still holds a call that is done"
        assert scope.cancel(Reason.CLIENT_CANCELLED) == []
        return outcome
    requests, consumer = iter([b"x"]), None
    if cell.limit == "write":
        requests = slow_producer()
    elif cell.limit == "idle":
        pauses = iter([LENIENT + 0.1])
        consumer = lambda: Event().wait(next(pauses, 0))  # noqa: E731 - one line says it
    return make(path, channel, name, requests, consumer)


def slow_producer() -> Iterator[bytes]:
    yield BIG
    Event().wait(LENIENT + 0.1)
    for _ in range(14):
        yield BIG


@pytest.fixture(scope="module")
def punctual_outcomes(channels: Channels) -> Outcomes:
    """Make all punctual calls of all cells, those of one installation at a time, so that they do not slow one another."""
    outcomes: Outcomes = {}
    for installation in INSTALLATIONS:
        mine = [cell for cell in CELLS if cell.installation == installation]
        with ThreadPoolExecutor(len(mine)) as pool:
            outcomes.update({cell: pool.submit(punctual, cell, channels) for cell in mine})
    return outcomes


@pytest.fixture
def left_alone(cell: Cell, punctual_outcomes: Outcomes, channels: Channels) -> Outcome:
    """Return how the cell's punctual call ended. What failed beside all the others is called once more, by itself."""
    together = punctual_outcomes[cell].result()
    return together if together.error is None else punctual(cell, channels)


@each_that_works
def test_a_punctual_call_is_left_alone(left_alone: Outcome) -> None:
    check_left_alone(left_alone)


@each_that_does_not
def test_a_limit_that_cannot_work_does_no_harm(left_alone: Outcome) -> None:
    check_left_alone(left_alone)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.note == BLIND and not cell.works], ids=str)
def test_the_page_is_not_too_modest(cell: Cell, silent_port: str) -> None:
    path = PATHS[cell.path]
    with INSTALLATIONS[cell.installation](silent_port, POLICY, path.options) as unconnected:
        name = method("connect", LATE["connect"], path.kind)
        outcome = make(path, unconnected, name, [b"x"], timeout=3 * LIMIT)
    assert outcome.facts is not None
    assert outcome.facts.layer == "total"
