"""Channels of both stacks whose totals adapt: calls are answered as before, and given up as soon as that is hopeless."""

from __future__ import annotations

import asyncio
import copy
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat as hb
import grpc_heartbeat.aio
from grpc_heartbeat import BreakerPolicy, HeartbeatPolicy, TimeoutPolicy, Timeouts
from grpc_heartbeat.adaptive import AdaptiveTimeouts, TotalAdapted
from grpc_heartbeat.core.frames import Load
from grpc_heartbeat.errors import timeout_of
from tests.peers import PATIENCE, LoopThread, SyncServer, path, wait_until

MOST = 20.0
ONE, MANY = path("UnaryUnary"), path("StreamUnary")
BEATS = HeartbeatPolicy(interval=0.1, misses=100)


class Server:
    """Answers at once, after ``delay`` seconds, or with an error; tells its load in its heartbeats."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.board: Any = None
        one: Callable[[bytes, Any], bytes] = lambda request, context: self._answer(request, context)  # noqa: E731
        self._server = SyncServer({"UnaryUnary": one, "StreamUnary": lambda many, context: one(next(many), context)})
        self.target = self._server.target

    def _answer(self, request: bytes, context: Any) -> bytes:
        over = threading.Event()
        if self.delay and context.add_callback(over.set):
            over.wait(self.delay)
        if request == b"fail":
            context.abort(grpc.StatusCode.UNAVAILABLE, "you asked for it")
        return request

    def close(self) -> None:
        self._server.close()


class Sync:
    """Calls on a channel of the sync stack, made in one of its ways."""

    def __init__(self, _loop: LoopThread, target: str, policy: AdaptiveTimeouts, way: str, how: str) -> None:
        if way == "wrapped":
            self.channel: Any = hb.wrap_channel(grpc.insecure_channel(target), timeouts=policy)
        else:
            more: Any = {"heartbeat": BEATS, "breaker": BreakerPolicy()} if way == "guarded" else {}
            self.channel = hb.insecure_channel(target, timeouts=policy, **more)
        self._how = how
        self._one, self._many = self.channel.unary_unary(ONE), self.channel.stream_unary(MANY)

    def call(self, request: bytes = b"x", **options: Any) -> Any:
        multicallable, message = (self._many, iter([request])) if "stream" in self._how else (self._one, request)
        if "future" in self._how:
            return multicallable.future(message, **options).result()
        if "with_call" in self._how:
            return multicallable.with_call(message, **options)[0]
        return multicallable(message, **options)

    def close(self) -> None:
        self.channel.close()


class Aio:
    """The same on the asyncio stack."""

    def __init__(self, loop: LoopThread, target: str, policy: AdaptiveTimeouts, way: str, how: str) -> None:
        self._loop = loop
        self._how = how
        loop.run(self._open(target, policy, way))

    async def _open(self, target: str, policy: AdaptiveTimeouts, way: str) -> None:
        if way == "wrapped":
            self.channel: Any = hb.aio.wrap_channel(grpc.aio.insecure_channel(target), timeouts=policy)
        else:
            more: Any = {"heartbeat": BEATS, "breaker": BreakerPolicy()} if way == "guarded" else {}
            self.channel = hb.aio.insecure_channel(target, timeouts=policy, **more)
        self._one, self._many = self.channel.unary_unary(ONE), self.channel.stream_unary(MANY)

    def call(self, request: bytes = b"x", **options: Any) -> Any:
        return self._loop.run(self._call(request, **options))

    async def _call(self, request: bytes, **options: Any) -> Any:
        multicallable, message = (self._many, iter([request])) if "stream" in self._how else (self._one, request)
        return await multicallable(message, **options)

    def close(self) -> None:
        self._loop.run(self.channel.close())


HOWS = {Sync: ("unary", "unary with_call", "unary future", "stream", "stream future"), Aio: ("unary", "stream")}
CASES = [
    pytest.param(stack, way, how, id=f"{stack.__name__} {way} {how}")
    for stack in HOWS
    for way in ("made", "wrapped", "guarded")
    for how in HOWS[stack]
]


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def server(cleanup: ExitStack) -> Server:
    server = Server()
    cleanup.callback(server.close)
    return server


@pytest.fixture
def loop(cleanup: ExitStack, server: Server) -> LoopThread:
    loop = LoopThread()
    cleanup.callback(loop.close)
    return loop


def adaptive(policy: Timeouts | TimeoutPolicy | None = None, **rules: Any) -> AdaptiveTimeouts:
    quick = {"samples": 10, "every": 0.001, "headroom": 0.2, "least": 0.1}
    return AdaptiveTimeouts(policy or Timeouts(total=MOST), **{**quick, **rules})


@pytest.mark.parametrize(("stack", "way", "how"), CASES)
def test_a_total_follows_the_calls(
    server: Server, loop: LoopThread, cleanup: ExitStack, stack: Any, way: str, how: str
) -> None:
    policy = adaptive()
    changes: list[TotalAdapted] = []
    policy.observers.add(changes.append)  # type: ignore[arg-type]  # nothing else comes
    client = stack(loop, server.target, policy, way, how)
    cleanup.callback(client.close)
    method = MANY if "stream" in how else ONE
    wait_until(lambda: client.call() and policy.totals()[method] < MOST)
    total = policy.totals()[method]
    assert changes[0].before == MOST
    assert changes[-1].after == total < MOST / 2

    server.delay = MOST
    with pytest.raises(grpc.RpcError) as caught:
        client.call()
    facts = timeout_of(caught.value)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert facts is not None
    assert facts.source == "adaptive:policy:default"
    assert facts.limit == total
    assert total <= facts.elapsed < MOST / 2

    server.delay = 2 * total  # slower than it was: within some calls it has its time back
    for _ in range(20):
        try:
            client.call()
            break
        except grpc.RpcError:
            continue
    assert server.delay < policy.totals()[method] < MOST


@pytest.mark.parametrize(("stack", "how"), [(stack, how) for stack in HOWS for how in HOWS[stack]])
def test_errors_teach_nothing(server: Server, loop: LoopThread, cleanup: ExitStack, stack: Any, how: str) -> None:
    policy = adaptive()
    client = stack(loop, server.target, policy, "made", how)
    cleanup.callback(client.close)
    for _ in range(20):
        with pytest.raises(grpc.RpcError) as caught:
            client.call(b"fail")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert set(policy.totals().values()) == {MOST}
    assert policy.observed() == {}
    client.call()
    method = (MANY if "stream" in how else ONE).removeprefix("/")
    wait_until(lambda: policy.observed().get(method, {}).get("count") == 1)


@pytest.mark.parametrize("stack", HOWS)
def test_what_the_call_itself_says_still_counts(
    server: Server, loop: LoopThread, cleanup: ExitStack, stack: Any
) -> None:
    policy = adaptive()
    client = stack(loop, server.target, policy, "made", "unary")
    cleanup.callback(client.close)
    wait_until(lambda: client.call() and policy.totals()[ONE] < MOST)
    total = policy.totals()[ONE]
    server.delay = MOST
    with pytest.raises(grpc.RpcError) as shorter:
        client.call(timeout=total / 4)
    facts = timeout_of(shorter.value)
    assert facts is not None
    assert (facts.source, facts.limit) == ("explicit", total / 4)
    assert policy.totals()[ONE] == total  # it says nothing of what calls need
    server.delay = 2 * total
    with hb.timeouts(total=MOST):
        assert client.call() == b"x"


def test_only_methods_with_one_response_and_a_total_are_adapted(server: Server, cleanup: ExitStack) -> None:
    policy = adaptive(TimeoutPolicy(methods={ONE: {"total": MOST}, path("UnaryStream"): {"total": MOST}}))
    channel = hb.insecure_channel(server.target, timeouts=policy)
    cleanup.callback(channel.close)
    kinds = {
        name: type(getattr(channel, kind)(path(name))).__module__.rpartition(".")[2] for name, kind in NAMES.items()
    }
    assert kinds == {
        "UnaryUnary": "adapted",
        "StreamUnary": "multicallables",
        "UnaryStream": "multicallables",
        "StreamStream": "multicallables",
    }


NAMES = {
    "UnaryUnary": "unary_unary",
    "StreamUnary": "stream_unary",
    "UnaryStream": "unary_stream",
    "StreamStream": "stream_stream",
}


@pytest.mark.parametrize("stack", HOWS)
def test_the_servers_load_is_heard(server: Server, loop: LoopThread, cleanup: ExitStack, stack: Any) -> None:
    loads = iter([Load(queue_delay=0.05)])
    serving = grpc.server(cleanup.enter_context(ThreadPoolExecutor(4)))
    hb.add_to_server(serving, load=lambda: next(loads, Load(queue_delay=7.0)))
    port = serving.add_insecure_port("127.0.0.1:0")
    serving.start()
    cleanup.callback(lambda: serving.stop(None).wait(PATIENCE))
    policy = adaptive()
    client = stack(loop, f"127.0.0.1:{port}", policy, "guarded", "unary")
    cleanup.callback(client.close)
    wait_until(lambda: policy.server_load == 1.0)  # 70 times what is too much is as much as counts


def test_all_stubs_of_a_method_share_its_total_and_are_forgotten_with_their_channels(
    server: Server, cleanup: ExitStack
) -> None:
    policy = adaptive()
    first = hb.insecure_channel(server.target, timeouts=policy)
    cleanup.callback(first.close)
    call = first.unary_unary(ONE)
    wait_until(lambda: call(b"x") and policy.totals()[ONE] < MOST)
    server.delay = MOST
    with hb.insecure_channel(server.target, timeouts=policy) as second:
        with pytest.raises(grpc.RpcError) as caught:
            second.unary_unary(ONE)(b"x")
        facts = timeout_of(caught.value)
        assert facts is not None
        assert facts.source == "adaptive:policy:default"
    del caught, second
    learnt = policy.method(ONE)
    assert learnt is not None
    wait_until(lambda: len(learnt._members) == 1)


def test_calls_of_many_threads_are_counted_each(server: Server, cleanup: ExitStack) -> None:
    policy = adaptive(samples=100_000)
    channel = hb.insecure_channel(server.target, timeouts=policy)
    cleanup.callback(channel.close)
    call = channel.unary_unary(ONE)
    threads = [threading.Thread(target=lambda: [call(b"x") for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    learnt = policy.method(ONE)
    assert learnt is not None
    assert learnt.observed()["count"] == 400


@pytest.mark.parametrize("status", ["OK", "DEADLINE_EXCEEDED"])
def test_ends_that_wait_to_be_counted_are_bounded(status: str) -> None:
    learnt = adaptive(every=1000.0).method(ONE)
    assert learnt is not None
    for _ in range(2500):
        if status == "OK":
            learnt.answered(0.0)
        else:
            learnt.failed(status, 0.0)
    assert len(learnt._ends) < 1000
    assert learnt.observed()["count"] == 2500


@pytest.mark.internal_faults
def test_an_observer_that_raises_is_dropped_and_the_call_goes_on(server: Server, cleanup: ExitStack) -> None:
    def broken(_event: Any) -> None:
        raise RuntimeError("no")

    policy = adaptive()
    policy.observers.add(broken)
    channel = hb.insecure_channel(server.target, timeouts=policy)
    cleanup.callback(channel.close)
    call = channel.unary_unary(ONE)
    wait_until(lambda: call(b"x") and not policy.observers)
    assert call(b"x") == b"x"


async def test_a_task_that_is_cancelled_teaches_nothing(server: Server) -> None:
    policy = adaptive()
    async with hb.aio.insecure_channel(server.target, timeouts=policy) as channel:
        call = channel.unary_unary(ONE)
        await call(b"x")
        server.delay = PATIENCE
        task = asyncio.ensure_future(_await(call(b"x")))
        await asyncio.wait((task,), timeout=0.05)
        task.cancel()
        await asyncio.wait((task,))
        learnt = policy.method(ONE)
        assert learnt is not None
        assert learnt.observed()["count"] == 1


async def _await(call: Any) -> Any:
    return await call


def test_a_channel_without_it_does_not_even_load_it() -> None:
    program = (
        "import sys, grpc_heartbeat as hb\n"
        "with hb.insecure_channel('127.0.0.1:1', timeouts=hb.Timeouts(total=1)) as channel: channel.unary_unary('/a.B/C')\n"
        "assert not [name for name in sys.modules if 'adapt' in name], sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE)


def test_it_is_one_of_a_kind() -> None:
    policy = adaptive(Timeouts(total=2.0, connect=1.0))
    assert policy != adaptive(Timeouts(total=2.0, connect=1.0))
    assert len({policy, policy}) == 1
    assert policy.limits(ONE, streams=False).connect == 1.0
    assert repr(policy).startswith("AdaptiveTimeouts(TimeoutPolicy({'total': 2.0")
    for duplicate in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="holds what this process has learnt"):
            duplicate(policy)
    with pytest.raises(TypeError, match="policy must be Timeouts or a TimeoutPolicy, not float"):
        AdaptiveTimeouts(8.0)  # type: ignore[arg-type]  # the point of the test


def test_its_policy_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{"name": "shop", "default": {"total": "3s"}}')
    assert AdaptiveTimeouts.load(file).limits(ONE, streams=False).source("total") == "policy:shop:default"
