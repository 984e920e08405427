"""Faults on real servers of both stacks, for all four kinds of RPC and every style of handler."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from types import FrameType
from typing import Any

import grpc
import pytest

from grpc_heartbeat.testing.faults import Fault, FaultPlan
from tests.chain.hops import start
from tests.contract.conftest import Serve, observe
from tests.peers import KINDS, PATIENCE, SERVICE, LoopThread, wait_until
from tests.server import styles

STYLES = [
    *(("sync", kind, behavior) for kind, behavior in styles.cases(styles.SYNC_STYLES)),
    *(("aio", kind, behavior) for kind, behavior in styles.cases(styles.AIO_STYLES)),
]
NEVER = FaultPlan(Fault(never_answer=True))
LONG = FaultPlan(Fault(delay=1000))


def one(request: Any, context: Any) -> bytes:
    return b"one"


def many(request: Any, context: Any) -> Iterator[bytes]:
    yield b"one"
    yield b"two"


def unblocked(request: Any, context: Any, send_response: Any) -> None:
    for response in (b"one", b"two", None):
        send_response(response)


unblocked.experimental_non_blocking = True  # type: ignore[attr-defined]  # how grpcio marks them


async def aio_one(request: Any, context: Any) -> bytes:
    return b"one"


async def aio_many(request: Any, context: Any) -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


async def aio_writes(request: Any, context: Any) -> None:
    await context.write(b"one")
    await context.write(b"two")


PLAIN = {kind: one if kind.endswith("Unary") else many for kind in KINDS}


def waiting(loop: LoopThread) -> list[Any]:
    """Return the functions of faults in which threads wait, and the tasks of ``loop`` in which RPCs do."""
    tasks: Any = asyncio.all_tasks(loop.loop)
    found = [task for task in tasks if task.get_coro().__qualname__.startswith(("_handle", "_schedule_rpc"))]
    for frame in sys._current_frames().values():
        at: FrameType | None = frame
        while at is not None:
            if "/testing/faulty" in at.f_code.co_filename:
                found.append(at.f_code.co_name)
            at = at.f_back
    return found


def noting(behavior: Any, entered: threading.Event) -> Any:
    """Return ``behavior``, of the same kind, that notes when it runs."""
    if inspect.iscoroutinefunction(behavior):

        async def coroutine(request: Any, context: Any) -> Any:
            entered.set()
            return await behavior(request, context)

        return coroutine
    if inspect.isasyncgenfunction(behavior):

        async def generator(request: Any, context: Any) -> Any:
            entered.set()
            async for response in behavior(request, context):
                yield response

        return generator

    @functools.wraps(behavior)
    def plain(*arguments: Any) -> Any:
        entered.set()
        return behavior(*arguments)

    return plain


BEHAVIORS: dict[str, tuple[str, dict[str, Any]]] = {
    "sync": ("sync", PLAIN),
    "sync non-blocking": ("sync", {"UnaryStream": unblocked}),
    "aio": ("aio", {kind: aio_one if kind.endswith("Unary") else aio_many for kind in KINDS}),
    "aio writes": ("aio", {"UnaryStream": aio_writes, "StreamStream": aio_writes}),
    "aio plain": ("aio", PLAIN),
}
CASES = [(name, kind) for name, (_, behaviors) in BEHAVIORS.items() for kind in behaviors]


@pytest.mark.parametrize("ours", [False, True], ids=["alone", "behind ours"])
@pytest.mark.parametrize(("stack", "kind", "behavior"), STYLES, ids=styles.name)
def test_a_delayed_call_is_answered_as_by_a_bare_server(
    stack: str, kind: str, behavior: Any, ours: bool, serve: Serve
) -> None:
    plan = FaultPlan(Fault(delay=0.001, message_delay=0.001))
    bare, faulty = serve(stack, {kind: behavior}, None), serve(stack, {kind: behavior}, plan, ours=ours)
    assert observe(faulty.target, kind) == observe(bare.target, kind)
    assert faulty.injected() == {f"{SERVICE}/{kind}": 1}


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_delay_comes_before_the_handler(name: str, kind: str, serve: Serve) -> None:
    stack, behaviors = BEHAVIORS[name]
    server = serve(stack, behaviors, FaultPlan(Fault(delay=0.05)))
    began = time.monotonic()
    assert observe(server.target, kind)["code"] is grpc.StatusCode.OK
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_delay_comes_before_each_message(name: str, kind: str, serve: Serve) -> None:
    stack, behaviors = BEHAVIORS[name]
    server = serve(stack, behaviors, FaultPlan(Fault(message_delay=0.03)))
    began = time.monotonic()
    answer = observe(server.target, kind)
    assert answer["responses"] == ([b"one"] if kind.endswith("Unary") else [b"one", b"two"])
    assert time.monotonic() - began >= 0.03 * len(answer["responses"])


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_call_is_aborted_in_words(name: str, kind: str, serve: Serve) -> None:
    stack, behaviors = BEHAVIORS[name]
    fault = Fault(code=grpc.StatusCode.RESOURCE_EXHAUSTED, details="no disk", delay=0.01)
    server = serve(stack, behaviors, FaultPlan(fault))
    answer = observe(server.target, kind)
    assert (answer["code"], answer["details"]) == (fault.code, "injected by FaultPlan: no disk")
    assert answer["responses"] == []
    assert server.injected() == {f"{SERVICE}/{kind}": 1}


@pytest.mark.parametrize("plan", [NEVER, LONG], ids=["never", "delay"])
@pytest.mark.parametrize("name", BEHAVIORS)
def test_waiting_ends_with_the_deadline(name: str, plan: FaultPlan, serve: Serve, loop: LoopThread) -> None:
    stack, behaviors = BEHAVIORS[name]
    entered = threading.Event()
    noted = {kind: noting(behavior, entered) for kind, behavior in behaviors.items()}
    server = serve(stack, noted, plan, workers=len(noted))
    with grpc.insecure_channel(server.target) as channel:
        grpc.channel_ready_future(channel).result(PATIENCE)
        calls = [start(channel, kind, b"hello", timeout=0.5) for kind in noted]
        assert [call.code() for call in calls] == [grpc.StatusCode.DEADLINE_EXCEEDED] * len(noted)
    wait_until(lambda: not waiting(loop))
    assert server.injected() == {f"{SERVICE}/{kind}": 1 for kind in noted}
    assert not entered.is_set()


@pytest.mark.parametrize("plan", [NEVER, LONG, FaultPlan(Fault(message_delay=1000))], ids=["never", "delay", "message"])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_waiting_ends_quietly_with_a_cancel(
    name: str, kind: str, plan: FaultPlan, serve: Serve, loop: LoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    stack, behaviors = BEHAVIORS[name]
    entered = threading.Event()
    server = serve(stack, {kind: noting(behaviors[kind], entered)}, plan, workers=1)
    with grpc.insecure_channel(server.target) as channel:
        call = start(channel, kind, b"hello", timeout=PATIENCE)
        wait_until(entered.is_set if plan.default and plan.default.message_delay else server.injected)
        wait_until(lambda: waiting(loop) or name == "sync non-blocking")
        call.cancel()
        wait_until(lambda: not waiting(loop))
        assert call.code() is grpc.StatusCode.CANCELLED
    gc.collect()
    assert caplog.records == []


@pytest.mark.parametrize("name", ["sync", "aio plain"])
def test_a_worker_is_free_again_when_its_client_gave_up(name: str, serve: Serve) -> None:
    stack, behaviors = BEHAVIORS[name]
    server = serve(stack, behaviors, FaultPlan(methods={f"{SERVICE}/UnaryUnary": NEVER.default}), workers=1)
    with grpc.insecure_channel(server.target) as channel:
        lost = [start(channel, "UnaryUnary", b"hello", timeout=PATIENCE) for _ in range(16)]  # asyncio's pool has 16
        wait_until(lambda: server.injected() == {f"{SERVICE}/UnaryUnary": 16})
        for call in lost:
            call.cancel()
        assert observe(server.target, "UnaryStream")["responses"] == [b"one", b"two"]


@pytest.mark.parametrize("stack", ["sync", "aio"])
def test_calls_that_are_not_struck_get_their_own_handler(stack: str, serve: Serve) -> None:
    behaviors = BEHAVIORS[stack][1]
    plan = FaultPlan(Fault(code=grpc.StatusCode.UNAVAILABLE, share=0.5), seed=5)
    server = serve(stack, behaviors, plan)
    method = f"{SERVICE}/UnaryUnary"
    wanted = ["UNAVAILABLE" if plan.strikes(method, number) else "OK" for number in range(12)]
    assert [observe(server.target, "UnaryUnary")["code"].name for _ in range(12)] == wanted
    assert set(wanted) == {"OK", "UNAVAILABLE"}
    assert server.injected() == {method: wanted.count("UNAVAILABLE")}
    assert observe(serve(stack, behaviors, FaultPlan()).target, "UnaryUnary")["code"] is grpc.StatusCode.OK


@pytest.mark.parametrize("stack", ["sync", "aio"])
def test_methods_without_a_handler_are_nobodys(stack: str, serve: Serve) -> None:
    server = serve(stack, {}, NEVER)
    assert observe(server.target, "UnaryUnary")["code"] is grpc.StatusCode.UNIMPLEMENTED
    assert server.injected() == {}
