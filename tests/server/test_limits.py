"""The server's own limits: RPCs that overrun them end, what they called ends, and their clients are told in words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import _grpcio, _loop_timers, _timers, deadline, events
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.interceptors.admission import ServerPolicy
from grpc_heartbeat.interceptors.limiting import Limit
from tests.chain.hops import start
from tests.channel.servers import HOLD, Server
from tests.peers import KINDS, PATIENCE, LoopThread, path, wait_until
from tests.server.conftest import Serve


@pytest.fixture(autouse=True)
def no_second_abort(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """An RPC is ended once, by its handler or beside it."""
    yield
    records = caplog.get_records("call") + caplog.get_records("teardown")  # servers are closed by now
    assert not [record for record in records if "UsageError" in record.getMessage()]


@pytest.fixture(autouse=True)
def private_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public API ends an RPC of the sync stack without words; that has a test of its own."""
    monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", False)


LIMIT = 0.1
DEFAULT = ServerPolicy(default=LIMIT)
MAXIMUM = ServerPolicy(maximum=LIMIT)


class Stuck:
    """Handlers of every style and kind that go on until they are not wanted any more, and say why that was."""

    def __init__(self, lingers: float = 0.0) -> None:
        self.lingers = lingers
        self.reasons: list[str | None] = []
        self.left: list[float | None] = []
        self.give_up = threading.Event()

    def _wait(self) -> None:
        self.left.append(deadline.remaining())
        while deadline.reason() is None and not self.give_up.wait(0.005):
            pass
        self.reasons.append(deadline.reason())
        self.give_up.wait(self.lingers)

    async def _wait_aio(self) -> None:
        self.left.append(deadline.remaining())
        try:
            await asyncio.sleep(PATIENCE)  # sleep: to be cancelled
        finally:
            self.reasons.append(deadline.reason())

    def handler(self, style: str, kind: str, first: bool = False) -> Any:
        def one(request: Any, context: Any) -> bytes:
            self._wait()
            return b"late"

        def many(request: Any, context: Any) -> Iterator[bytes]:
            if first:
                yield b"first"
            self._wait()
            if not self.give_up.is_set():  # or grpc.aio waits for ever with what nobody takes, in a thread
                yield b"late"

        async def one_aio(request: Any, context: Any) -> bytes:
            await self._wait_aio()
            return b"late"

        async def many_aio(request: Any, context: Any) -> AsyncIterator[bytes]:
            if first:
                yield b"first"
            await self._wait_aio()
            yield b"late"

        if kind.endswith("Unary"):
            return one_aio if style == "aio" else one
        return many_aio if style == "aio" else many


def end_of(target: str, kind: str, **kwargs: Any) -> tuple[grpc.StatusCode, str, list[bytes]]:
    """Return status, details and responses of a call."""
    with grpc.insecure_channel(target) as channel:
        call = start(channel, kind, b"", **kwargs)
        responses: list[bytes] = []
        try:
            responses.extend([call.result(PATIENCE)] if kind.endswith("Unary") else call)
        except grpc.RpcError:
            pass
        return call.code(), call.details(), responses


def words(kind: str, source: str = "policy:default") -> str:
    return f"{path(kind)} was ended by its server, which allows it 0.1 s ({source})"


@pytest.mark.parametrize("first", [False, True], ids=["silent", "answering"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_rpc_without_a_deadline_ends_after_the_default(serve: Serve, stack: str, kind: str, first: bool) -> None:
    stuck = Stuck()
    server = serve(stack, {kind: stuck.handler(stack, kind, first)}, policy=DEFAULT)
    heard: list[Any] = []
    server.interceptor.observers.add(heard.append)
    code, details, responses = end_of(server.target, kind)
    assert (code, details) == (grpc.StatusCode.DEADLINE_EXCEEDED, words(kind))
    assert responses == ([b"first"] if first and kind.endswith("Stream") else [])
    wait_until(lambda: stuck.reasons)
    assert stuck.reasons == ["expired"]
    assert 0 < (stuck.left[0] or 0) <= LIMIT
    wait_until(lambda: any(isinstance(event, events.RpcOverran) for event in heard))
    (overran,) = [event for event in heard if isinstance(event, events.RpcOverran)]
    assert (overran.method, overran.limit, overran.source) == (path(kind), LIMIT, "policy:default")


def test_a_longer_deadline_of_the_client_is_cut_to_the_maximum(serve: Serve, stack: str) -> None:
    stuck = Stuck()
    server = serve(stack, {"UnaryUnary": stuck.handler(stack, "UnaryUnary")}, policy=MAXIMUM)
    for timeout in (PATIENCE, None):
        code, details, _ = end_of(server.target, "UnaryUnary", timeout=timeout)
        assert (code, details) == (grpc.StatusCode.DEADLINE_EXCEEDED, words("UnaryUnary"))
    assert all(left is not None and 0 < left <= LIMIT for left in stuck.left)


def test_a_shorter_deadline_of_the_client_stays_its_own(serve: Serve, stack: str) -> None:
    stuck = Stuck(lingers=LIMIT)  # a response at the very deadline may still be in time
    policy = ServerPolicy(default=PATIENCE, maximum=PATIENCE)
    server = serve(stack, {"UnaryUnary": stuck.handler(stack, "UnaryUnary")}, policy=policy)
    code, details, _ = end_of(server.target, "UnaryUnary", timeout=LIMIT)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "ended by its server" not in details
    wait_until(lambda: stuck.reasons)
    assert stuck.reasons == ["expired"]


def test_the_longest_match_says_the_limit(serve: Serve, stack: str) -> None:
    stuck = Stuck()
    behaviors = {kind: stuck.handler(stack, kind) for kind in ("UnaryUnary", "StreamUnary")}
    policy = ServerPolicy(
        default=PATIENCE,
        services={"test.Chain": {"default": LIMIT}},
        methods={"/test.Chain/StreamUnary": {"default": None, "maximum": LIMIT}},
    )
    server = serve(stack, behaviors, policy=policy)
    assert end_of(server.target, "UnaryUnary")[1] == words("UnaryUnary", "policy:test.Chain")
    assert end_of(server.target, "StreamUnary")[1] == words("StreamUnary", "policy:test.Chain/StreamUnary")


def test_an_rpc_that_ends_in_time_is_left_alone(serve: Serve, stack: str) -> None:
    async def answer_aio(request: bytes, context: Any) -> bytes:
        return b"in time"

    def answer(request: bytes, context: Any) -> bytes:
        return b"in time"

    server = serve(stack, {"UnaryUnary": answer_aio if stack == "aio" else answer}, policy=DEFAULT)
    heard: list[Any] = []
    server.interceptor.observers.add(heard.append)
    with grpc.insecure_channel(server.target) as channel:
        for _ in range(20):
            assert start(channel, "UnaryUnary", b"").result(PATIENCE) == b"in time"
    threading.Event().wait(2 * LIMIT)
    assert {type(event) for event in heard} == {events.RpcStarted}


def limits_armed() -> list[Any]:
    drivers: list[Any] = [_timers.timers(), *_loop_timers.all_loop_timers()]
    return [timer for driver in drivers for timer in driver.armed() if isinstance(timer, Limit)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_timer_of_an_rpc_goes_with_it(serve: Serve, stack: str, kind: str) -> None:
    stuck = Stuck()
    server = serve(stack, {kind: stuck.handler(stack, kind)}, policy=ServerPolicy(maximum=60.0))
    with grpc.insecure_channel(server.target) as channel:
        call = start(channel, kind, b"")
        wait_until(limits_armed)
        assert limits_armed()[0].describe() == f"the server's own limit of {path(kind)}"
        call.cancel()
        stuck.give_up.set()
        wait_until(lambda: not limits_armed())


def test_a_non_blocking_handler_is_ended_too_and_its_timer_goes_with_its_rpc(serve: Serve) -> None:
    def silent(request: bytes, context: Any, send_response: Any) -> None:
        if request == b"answer":
            send_response(b"in time")
            send_response(None)

    silent.experimental_non_blocking = True  # type: ignore[attr-defined]  # how grpcio marks them
    server = serve("sync", {"UnaryStream": silent}, policy=DEFAULT)
    assert end_of(server.target, "UnaryStream")[:2] == (grpc.StatusCode.DEADLINE_EXCEEDED, words("UnaryStream"))
    with grpc.insecure_channel(server.target) as channel:
        assert list(start(channel, "UnaryStream", b"answer")) == [b"in time"]


def test_a_stream_that_its_client_abandons_leaves_no_timer(serve: Serve, stack: str) -> None:
    policy = ServerPolicy(default=60.0)  # the leak check after the test would find its timer
    stuck = Stuck()
    server = serve(stack, {"UnaryStream": stuck.handler(stack, "UnaryStream", first=True)}, policy=policy)
    with grpc.insecure_channel(server.target) as channel:
        call = start(channel, "UnaryStream", b"")
        assert next(call) == b"first"
        call.cancel()
        stuck.give_up.set()


def test_what_the_rpc_called_ends_with_it(serve: Serve, stack: str, loop: LoopThread) -> None:
    leaf = Server()

    async def make() -> Any:
        return grpc_heartbeat.aio.insecure_channel(leaf.target)

    channel: Any = loop.run(make()) if stack == "aio" else grpc_heartbeat.insecure_channel(leaf.target)
    one = channel.unary_unary(path("UnaryUnary"))

    async def forward_aio(request: bytes, context: Any) -> Any:
        return await one(HOLD, timeout=PATIENCE)

    def forward(request: bytes, context: Any) -> Any:
        return one(HOLD, timeout=PATIENCE)

    server = serve(stack, {"UnaryUnary": forward_aio if stack == "aio" else forward}, policy=DEFAULT)
    assert end_of(server.target, "UnaryUnary")[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert leaf.ended.wait(PATIENCE)
    loop.run(channel.close()) if stack == "aio" else channel.close()
    leaf.close()


def test_a_handler_that_ignores_its_cancel_is_ended_all_the_same(serve: Serve) -> None:
    async def stubborn(request: bytes, context: Any) -> bytes:
        try:
            await asyncio.sleep(PATIENCE)  # sleep: to be cancelled
        except asyncio.CancelledError:
            pass
        return b"never mind"

    server = serve("aio", {"UnaryUnary": stubborn}, policy=DEFAULT)
    assert end_of(server.target, "UnaryUnary")[:2] == (grpc.StatusCode.DEADLINE_EXCEEDED, words("UnaryUnary"))


def test_a_handler_that_aborts_when_it_is_cancelled_says_the_status(serve: Serve) -> None:
    async def aborts(request: bytes, context: Any) -> None:
        try:
            await asyncio.sleep(PATIENCE)  # sleep: to be cancelled
        except asyncio.CancelledError:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")

    server = serve("aio", {"UnaryUnary": aborts}, policy=DEFAULT)
    assert end_of(server.target, "UnaryUnary")[:2] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")


def test_a_generator_that_waits_for_its_client_is_ended_when_it_goes_on(serve: Serve) -> None:
    closed = threading.Event()

    async def flood(request: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(100_000)
        finally:
            await asyncio.sleep(0.05)  # sleep: clean-up that takes its time
            closed.set()

    server = serve("aio", {"UnaryStream": flood}, policy=DEFAULT)
    with grpc.insecure_channel(server.target) as channel:
        call = start(channel, "UnaryStream", b"")
        next(call)
        threading.Event().wait(2 * LIMIT)
        with pytest.raises(grpc.RpcError):
            for _ in call:
                pass
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert closed.is_set()


@pytest.mark.parametrize("kind", ["UnaryUnary", "UnaryStream"])
def test_what_a_handler_raises_after_its_limit_does_not_count(serve: Serve, stack: str, kind: str) -> None:
    async def raises_aio(request: bytes, context: Any) -> bytes:
        try:
            await asyncio.sleep(PATIENCE)  # sleep: to be cancelled
        finally:
            raise ValueError("late")

    async def stream_aio(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield await raises_aio(request, context)

    def raises(request: bytes, context: Any) -> bytes:
        wait_until(lambda: deadline.reason() is not None)
        raise ValueError("late")

    def stream(request: bytes, context: Any) -> Iterator[bytes]:
        yield raises(request, context)

    one, many = (raises_aio, stream_aio) if stack == "aio" else (raises, stream)
    server = serve(stack, {kind: one if kind == "UnaryUnary" else many}, policy=DEFAULT)
    for _ in range(5):
        assert end_of(server.target, kind)[:2] == (grpc.StatusCode.DEADLINE_EXCEEDED, words(kind))


def test_calls_are_told_that_the_limit_has_passed(serve: Serve, stack: str) -> None:
    reasons: list[Reason | None] = []

    class Call:
        def __init__(self) -> None:
            self.told = threading.Event()

        def scope_cancelled(self, scope: Scope) -> None:
            reasons.append(scope.reason)
            self.told.set()

    def function(request: bytes, context: Any) -> bytes:
        call, scope = Call(), current_scope.get()
        assert scope is not None
        scope.adopt(call)
        assert call.told.wait(PATIENCE)
        return b""

    async def coroutine(request: bytes, context: Any) -> bytes:
        return await asyncio.to_thread(function, request, context)

    server = serve(stack, {"UnaryUnary": coroutine if stack == "aio" else function}, policy=DEFAULT)
    assert end_of(server.target, "UnaryUnary")[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: reasons)
    assert reasons == [Reason.EXPIRED]


def test_without_private_names_a_sync_rpc_ends_without_words(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", True)
    stuck = Stuck(lingers=LIMIT)
    server = serve("sync", {"UnaryUnary": stuck.handler("sync", "UnaryUnary")}, policy=DEFAULT)
    assert end_of(server.target, "UnaryUnary")[0] is grpc.StatusCode.CANCELLED
    wait_until(lambda: stuck.reasons)
    assert stuck.reasons == ["expired"]


def test_handlers_that_end_as_their_limit_passes_give_one_status_or_the_other(serve: Serve, stack: str) -> None:
    async def late_aio(request: bytes, context: Any) -> bytes:
        await asyncio.sleep(float(request))  # sleep: a slow handler is the subject
        return b"done"

    def late(request: bytes, context: Any) -> bytes:
        threading.Event().wait(float(request))
        return b"done"

    policy = ServerPolicy(default=0.05)
    server = serve(stack, {"UnaryUnary": late_aio if stack == "aio" else late}, policy=policy, accept_after=0.05)
    with grpc.insecure_channel(server.target) as channel:
        for round_ in range(15):
            calls = [start(channel, "UnaryUnary", b"%f" % (0.048 + 0.0004 * step)) for step in range(14)]
            for call in calls:
                error = call.exception(PATIENCE)
                assert error is None or error.code() is grpc.StatusCode.DEADLINE_EXCEEDED, (round_, error)
