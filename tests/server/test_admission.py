"""Admission: RPCs that come too late are counted, then rejected, within bounds; and how long they queued is measured."""

from __future__ import annotations

import math
import re
import threading
from typing import Any

import grpc
import pytest

from grpc_heartbeat import _faults, events
from grpc_heartbeat.core.admission import InboundLimits
from grpc_heartbeat.core.deadline import BUDGET_KEY
from grpc_heartbeat.interceptors.admission import ServerPolicy
from tests.chain.hops import start
from tests.peers import KINDS, PATIENCE, path
from tests.server.conftest import Serve

MINIMUM = 5.0
SHORT = ((BUDGET_KEY, "2000000"),)
"""Metadata that leave 2 s."""


def echo(stack: str, kind: str) -> Any:
    """Return a handler that answers at once."""

    def one(request: Any, context: Any) -> bytes:
        return b"done"

    def many(request: Any, context: Any) -> Any:
        yield b"done"

    async def one_aio(request: Any, context: Any) -> bytes:
        return b"done"

    async def many_aio(request: Any, context: Any) -> Any:
        yield b"done"

    if kind.endswith("Unary"):
        return one_aio if stack == "aio" else one
    return many_aio if stack == "aio" else many


def status(channel: grpc.Channel, kind: str, **kwargs: Any) -> tuple[grpc.StatusCode, str]:
    call = start(channel, kind, b"", **kwargs)
    try:
        call.result(PATIENCE) if kind.endswith("Unary") else list(call)
    except grpc.RpcError:
        pass
    return call.code(), call.details()


@pytest.mark.parametrize("kind", KINDS)
def test_an_rpc_with_less_than_the_minimum_left_is_rejected_when_that_is_enforced(
    serve: Serve, stack: str, kind: str
) -> None:
    policy = ServerPolicy(minimum_budget=MINIMUM, enforce=True, max_reject_fraction=1.0)
    server = serve(stack, {kind: echo(stack, kind)}, policy=policy)
    heard: list[Any] = []
    server.interceptor.observers.add(heard.append)
    with grpc.insecure_channel(server.target) as channel:
        code, details = status(channel, kind, metadata=SHORT)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        words = r" was not started: [12]\.\d{3} s of its budget were left, and its server wants at least 5 s \(minimum_budget, "
        assert re.fullmatch(re.escape(path(kind)) + words + r"policy:default\)", details)
        assert status(channel, kind, timeout=PATIENCE)[0] is grpc.StatusCode.OK
        assert status(channel, kind)[0] is grpc.StatusCode.OK
    assert [type(event) for event in heard] == [events.RpcRejected, events.RpcStarted, events.RpcStarted]
    assert heard[0].enforced
    assert 1 < heard[0].left <= 2
    assert heard[0].minimum == MINIMUM
    stats = server.interceptor.stats()
    assert (stats.seen, stats.would_reject, stats.rejected, stats.expired_in_queue) == (3, 1, 1, 0)
    assert stats.methods[path(kind)].rejected == 1


def test_in_the_dark_rpcs_are_counted_and_let_in(serve: Serve, stack: str) -> None:
    server = serve(stack, {"UnaryUnary": echo(stack, "UnaryUnary")}, policy=ServerPolicy(minimum_budget=MINIMUM))
    heard: list[Any] = []
    server.interceptor.observers.add(heard.append)
    with grpc.insecure_channel(server.target) as channel:
        assert status(channel, "UnaryUnary", metadata=SHORT)[0] is grpc.StatusCode.OK
    stats = server.interceptor.stats()
    assert (stats.seen, stats.would_reject, stats.rejected) == (1, 1, 0)
    assert [type(event) for event in heard] == [events.RpcRejected, events.RpcStarted]
    assert not heard[0].enforced


def test_no_more_than_the_fraction_is_rejected(serve: Serve, stack: str) -> None:
    policy = ServerPolicy(minimum_budget=MINIMUM, enforce=True, max_reject_fraction=0.25, window=60)
    server = serve(stack, {"UnaryUnary": echo(stack, "UnaryUnary")}, policy=policy)
    with grpc.insecure_channel(server.target) as channel:
        codes = [status(channel, "UnaryUnary", metadata=SHORT)[0] for _ in range(40)]
    assert codes.count(grpc.StatusCode.DEADLINE_EXCEEDED) == 10
    assert server.interceptor.stats().rejected == 10


@pytest.mark.parametrize("policy", [None, ServerPolicy(minimum_budget=MINIMUM)], ids=["no policy", "policy"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_spent_budget_is_always_rejected_and_counted(
    serve: Serve, stack: str, kind: str, policy: ServerPolicy | None
) -> None:
    server = serve(stack, {kind: echo(stack, kind)}, policy=policy)
    heard: list[Any] = []
    server.interceptor.observers.add(heard.append)
    with grpc.insecure_channel(server.target) as channel:
        code, details = status(channel, kind, metadata=((BUDGET_KEY, "0"),))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "its deadline had passed" in details
    stats = server.interceptor.stats()
    assert (stats.seen, stats.expired_in_queue, stats.rejected) == (0, 1, 0)
    assert [type(event) for event in heard] == [events.RpcExpired]


def test_the_time_in_the_queue_is_measured(serve: Serve) -> None:
    release, entered = threading.Event(), threading.Event()

    def busy(request: bytes, context: Any) -> bytes:
        entered.set()
        release.wait(PATIENCE)
        return b""

    server = serve("sync", {"UnaryUnary": busy}, workers=1, policy=ServerPolicy())
    started: list[Any] = []
    server.interceptor.observers.add(started.append)
    with grpc.insecure_channel(server.target) as channel:
        calls = [start(channel, "UnaryUnary", b"")]
        assert entered.wait(PATIENCE)
        calls.append(start(channel, "UnaryUnary", b""))
        threading.Event().wait(0.2)
        release.set()
        for call in calls:
            call.result(PATIENCE)
    stats = server.interceptor.stats()
    assert stats.queue_delay.count == 2
    assert stats.queue_delay.max == stats.last_queue_delay > 0.1
    delays = [event.queue_delay for event in started if isinstance(event, events.RpcStarted)]
    assert delays[0] < 0.1 < delays[1]


def test_the_time_until_an_asyncio_handler_starts_is_measured(serve: Serve) -> None:
    for stack in ("aio", "plain"):
        server = serve(stack, {"UnaryUnary": echo(stack, "UnaryUnary")}, policy=ServerPolicy())
        with grpc.insecure_channel(server.target) as channel:
            status(channel, "UnaryUnary")
        delay = server.interceptor.stats().queue_delay
        assert delay.count == 1
        assert 0 < delay.max < PATIENCE


@pytest.mark.internal_faults
def test_an_observer_that_fails_is_dropped_and_the_rpc_goes_on(serve: Serve, stack: str) -> None:
    def broken(event: Any) -> None:
        raise RuntimeError("broken observer")

    server = serve(stack, {"UnaryUnary": echo(stack, "UnaryUnary")}, policy=ServerPolicy())
    server.interceptor.observers.add(broken)
    before = _faults.counts().get("server.observer", 0)
    with grpc.insecure_channel(server.target) as channel:
        for _ in range(3):
            assert status(channel, "UnaryUnary")[0] is grpc.StatusCode.OK
    assert _faults.counts()["server.observer"] == before + 1


def test_many_at_once_are_counted_exactly(serve: Serve, stack: str) -> None:
    server = serve(stack, {"UnaryUnary": echo(stack, "UnaryUnary")}, policy=ServerPolicy(minimum_budget=MINIMUM))
    with grpc.insecure_channel(server.target) as channel:
        calls = [start(channel, "UnaryUnary", b"") for _ in range(300)]
        for call in calls:
            call.result(PATIENCE)
    stats = server.interceptor.stats()
    assert stats.seen == stats.queue_delay.count == 300


POLICY = ServerPolicy(
    default=8,
    maximum=60,
    services={"shop.Orders": {"maximum": 30, "minimum_budget": 0.01}},
    methods={"/shop.Orders/Place": {"maximum": 5}, "shop.Orders/Watch": {"default": None, "maximum": None}},
)


@pytest.mark.parametrize(
    ("method", "limits"),
    [
        ("/shop.Orders/Place", InboundLimits(8.0, 5.0, 0.01, "policy:shop.Orders/Place")),
        ("/shop.Orders/Watch", InboundLimits(None, None, 0.01, "policy:shop.Orders/Watch")),
        ("/shop.Orders/Other", InboundLimits(8.0, 30.0, 0.01, "policy:shop.Orders")),
        ("/shop.OrdersToo/Place", InboundLimits(8.0, 60.0, None, "policy:default")),
    ],
)
def test_the_most_exact_entry_wins_part_by_part(method: str, limits: InboundLimits) -> None:
    assert POLICY.limits(method) == limits


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"default": 0}, ValueError, "ServerPolicy.default must be more than 0"),
        ({"maximum": math.nan}, ValueError, "ServerPolicy.maximum must be"),
        ({"minimum_budget": "1"}, TypeError, "ServerPolicy.minimum_budget must be a number of seconds, not str"),
        ({"enforce": 1}, TypeError, "ServerPolicy.enforce must be True or False, not 1"),
        ({"max_reject_fraction": 1.1}, ValueError, "max_reject_fraction must be between 0 and 1; got 1.1"),
        ({"max_reject_fraction": True}, TypeError, "max_reject_fraction must be a number, not bool"),
        ({"window": 0.5}, ValueError, "window must be between 1 and 60; got 0.5"),
        ({"methods": {"a.B/C": {"maximun": 1}}}, ValueError, "no part 'maximun'; did you mean 'maximum'?"),
        ({"methods": {"a.B/C": {"x": 1}}}, ValueError, "the parts are default, maximum, minimum_budget, accept_after"),
        ({"methods": {"a.B/C": {"maximum": -1}}}, ValueError, r"methods\['a.B/C'\].maximum must be more than 0"),
        ({"methods": {"a.B/C": {"accept_after": 11}}}, ValueError, "accept_after must be at most 10 seconds; got 11"),
        ({"methods": {"a.B/C": 5}}, TypeError, r"methods\['a.B/C'\] must map parts to seconds, not be a int"),
        ({"methods": {"a.B/C": {}, "/a.B/C": {}}}, ValueError, "is there twice"),
        ({"methods": {"a.B": {}}}, ValueError, "a.B"),
        ({"services": {"a.B/C": {}}}, ValueError, "is no service"),
        ({"services": [("a.B", {})]}, TypeError, "ServerPolicy.services must map names to parts, not be a list"),
    ],
)
def test_a_wrong_policy_is_refused_by_name(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ServerPolicy(**arguments)


def test_what_is_no_policy_is_refused(serve: Serve, stack: str) -> None:
    with pytest.raises(TypeError, match="policy must be a ServerPolicy or None, not dict"):
        serve(stack, {}, policy={"default": 1})
