"""Slow handlers are accepted early: the client sees initial metadata while they run, and nothing else is different."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import events
from grpc_heartbeat.interceptors.accepting_aio import PlainAcceptingContext
from grpc_heartbeat.interceptors.admission import ServerPolicy
from grpc_heartbeat.interceptors.server_state import ServerState
from tests.chain.hops import start
from tests.peers import PATIENCE, AioServer, LoopThread, SyncServer, path, wait_until
from tests.server import styles
from tests.server.conftest import Serve
from tests.server.test_handler_styles import observe

SOON = 0.02
SLOW = 0.1
"""Seconds. Several times as long as a handler is left alone in these tests."""


class Gate:
    """Handlers of every style that wait until they may go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def _wait(self) -> None:
        self.entered.set()
        assert self.open.wait(PATIENCE)

    async def _wait_aio(self) -> None:
        self.entered.set()
        await asyncio.to_thread(self.open.wait, PATIENCE)

    def handler(self, stack: str, kind: str) -> Any:
        def one(request: Any, context: Any) -> bytes:
            self._wait()
            return b"done"

        def many(request: Any, context: Any) -> Iterator[bytes]:
            self._wait()
            yield b"done"
            yield b"more"

        async def one_aio(request: Any, context: Any) -> bytes:
            await self._wait_aio()
            return b"done"

        async def many_aio(request: Any, context: Any) -> AsyncIterator[bytes]:
            await self._wait_aio()
            yield b"done"
            yield b"more"

        async def writes_aio(request: Any, context: Any) -> None:
            await self._wait_aio()
            await context.write(b"done")
            await context.write(b"more")

        if kind.endswith("Unary"):
            return one_aio if stack == "aio" else one
        return {"aio": many_aio, "writes": writes_aio}.get(stack, many)


def as_stream(channel: Any, method: str) -> Any:
    """Call a unary method in a way that shows its initial metadata before its response. On the wire there is no difference."""
    return channel.unary_stream(method)(b"", timeout=PATIENCE)


@pytest.mark.parametrize("kind", ["UnaryUnary", "UnaryStream"])
@pytest.mark.parametrize("style", ["sync", "aio", "plain", "writes"])
def test_the_client_hears_of_a_slow_handler_before_its_response(serve: Serve, style: str, kind: str) -> None:
    if (style, kind) == ("writes", "UnaryUnary"):
        pytest.skip("a unary handler does not write")
    gate = Gate()
    server = serve("aio" if style == "writes" else style, {kind: gate.handler(style, kind)}, accept_after=SOON)
    accepted: list[Any] = []
    server.interceptor.observers.add(accepted.append)
    with grpc.insecure_channel(server.target) as channel:
        call = as_stream(channel, path(kind))
        assert tuple(call.initial_metadata()) == ()
        assert not gate.open.is_set()
        gate.open.set()
        assert next(call) == b"done"
        assert list(call) == ([] if kind == "UnaryUnary" else [b"more"])
        assert call.code() is grpc.StatusCode.OK
    assert [type(event) for event in accepted] == [events.RpcAccepted]
    assert accepted[0].method == path(kind)


def initial_metadata_came(call: Any) -> threading.Event:
    came = threading.Event()

    def look() -> None:
        call.initial_metadata()
        came.set()

    threading.Thread(target=look, daemon=True).start()
    return came


def test_it_can_be_turned_off_altogether_and_per_method(serve: Serve, stack: str) -> None:
    off: list[dict[str, Any]] = [
        {"accept_after": None},
        {"policy": ServerPolicy(methods={path("UnaryUnary"): {"accept_after": None}})},
        {"policy": ServerPolicy(services={"test.Chain": {"accept_after": 0.5}})},
    ]
    for arguments in off:
        gate = Gate()
        server = serve(stack, {"UnaryUnary": gate.handler(stack, "UnaryUnary")}, **({"accept_after": SOON} | arguments))
        with grpc.insecure_channel(server.target) as channel:
            call = as_stream(channel, path("UnaryUnary"))
            came = initial_metadata_came(call)
            assert gate.entered.wait(PATIENCE)
            assert not came.wait(SLOW)
            gate.open.set()
            assert next(call) == b"done"
            assert came.wait(PATIENCE)


def test_a_method_can_have_it_when_the_server_does_not(serve: Serve, stack: str) -> None:
    gate = Gate()
    policy = ServerPolicy(methods={path("UnaryUnary"): {"accept_after": SOON}})
    server = serve(stack, {"UnaryUnary": gate.handler(stack, "UnaryUnary")}, accept_after=None, policy=policy)
    with grpc.insecure_channel(server.target) as channel:
        call = as_stream(channel, path("UnaryUnary"))
        call.initial_metadata()
        gate.open.set()
        assert next(call) == b"done"


def slowly(behavior: Any, after: float) -> Any:
    """Return ``behavior`` so that it begins late, of the same kind and without hiding anything from us."""

    def late(request: Any, context: Any) -> Any:
        threading.Event().wait(after)
        return behavior(request, context)

    def late_stream(request: Any, context: Any) -> Iterator[Any]:
        threading.Event().wait(after)
        yield from behavior(request, context)

    async def late_aio(request: Any, context: Any) -> Any:
        await asyncio.sleep(after)  # sleep: a slow handler is the subject
        return await behavior(request, context)

    async def late_stream_aio(request: Any, context: Any) -> AsyncIterator[Any]:
        await asyncio.sleep(after)  # sleep: a slow handler is the subject
        async for response in behavior(request, context):
            yield response

    if inspect.isasyncgenfunction(behavior):
        return late_stream_aio
    if inspect.iscoroutinefunction(behavior):
        return late_aio
    return late_stream if inspect.isgeneratorfunction(behavior) else late


SYNC_STYLES = [case for case in styles.cases(styles.SYNC_STYLES) if case[1] is not styles.non_blocking]


@pytest.mark.parametrize(("kind", "behavior"), SYNC_STYLES, ids=styles.name)
def test_slow_sync_handlers_answer_as_on_a_bare_server(kind: str, behavior: Any) -> None:
    answers = []
    for interceptors in ([], grpc_heartbeat.server_interceptors(accept_after=0.005)):
        server = SyncServer({kind: slowly(behavior, 0.03)}, interceptors)
        answers.append(observe(server.target, kind))
        server.close()
    assert answers[1] == answers[0]


@pytest.mark.parametrize(("kind", "behavior"), styles.cases(styles.AIO_STYLES), ids=styles.name)
def test_slow_aio_handlers_answer_as_on_a_bare_server(loop: LoopThread, kind: str, behavior: Any) -> None:
    answers = []
    for interceptors in ([], grpc_heartbeat.aio.server_interceptors(accept_after=0.005)):
        server = AioServer(loop, {kind: slowly(behavior, 0.03)}, interceptors)
        answers.append(observe(server.target, kind))
        server.close()
    assert answers[1] == answers[0]


def hidden(context: Any, name: str, *arguments: Any) -> Any:
    """Call a method of the context in a way that does not show in the handler's code."""
    return getattr(context, name)(*arguments)


OWN = "send_" + "initial_metadata"
METADATA = (("seen", "yes"),)


def speaks_late(stack: str, name: str, argument: Any) -> Any:
    def handle(request: bytes, context: Any) -> bytes:
        threading.Event().wait(float(request))
        hidden(context, name, argument)
        return b"done"

    async def handle_aio(request: bytes, context: Any) -> bytes:
        await asyncio.sleep(float(request))  # sleep: a slow handler is the subject
        result = hidden(context, name, argument)
        if asyncio.iscoroutine(result):
            await result
        return b"done"

    return handle_aio if stack == "aio" else handle


def test_a_handler_that_sends_initial_metadata_too_late_is_forgiven_once_and_then_left_alone(
    serve: Serve, stack: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(stack, {"UnaryUnary": speaks_late(stack, OWN, METADATA)}, accept_after=SOON)
    seen: list[Any] = []
    with grpc.insecure_channel(server.target) as channel, caplog.at_level(logging.WARNING, "grpc_heartbeat.server"):
        for _ in range(3):
            call = start(channel, "UnaryUnary", b"%f" % SLOW)
            assert call.result() == b"done"
            seen.append(tuple(call.initial_metadata()))
    assert seen == [(), METADATA, METADATA]
    (record,) = [record for record in caplog.records if record.name == "grpc_heartbeat.server"]
    assert f"{path('UnaryUnary')} was accepted after 0.02 s, before its handler came to send initial" in record.message


def test_a_handler_that_was_seen_to_send_initial_metadata_in_time_is_left_alone(serve: Serve, stack: str) -> None:
    server = serve(stack, {"UnaryUnary": speaks_late(stack, OWN, METADATA)}, accept_after=SOON)
    with grpc.insecure_channel(server.target) as channel:
        for delay in (b"0", b"0.1"):
            call = start(channel, "UnaryUnary", delay)
            assert call.result() == b"done"
            assert tuple(call.initial_metadata()) == METADATA


def test_compression_that_comes_too_late_harms_nothing(
    serve: Serve, stack: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(
        stack, {"UnaryUnary": speaks_late(stack, "set_compression", grpc.Compression.Gzip)}, accept_after=SOON
    )
    with grpc.insecure_channel(server.target) as channel, caplog.at_level(logging.WARNING, "grpc_heartbeat.server"):
        for delay in (b"0", b"0.1", b"0.1"):
            assert start(channel, "UnaryUnary", delay).result() == b"done"
    assert [record.message.count("set the compression") for record in caplog.records] == [1]


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, SLOW), (SLOW, 0)])
def test_a_second_sending_of_its_own_is_still_the_handlers_mistake(
    serve: Serve, stack: str, first: float, second: float
) -> None:
    def twice(request: bytes, context: Any) -> bytes:
        for pause in (first, second):
            threading.Event().wait(pause)
            hidden(context, OWN, METADATA)
        return b"done"

    async def twice_aio(request: bytes, context: Any) -> bytes:
        for pause in (first, second):
            await asyncio.sleep(pause)  # sleep: a slow handler is the subject
            await hidden(context, OWN, METADATA)
        return b"done"

    server = serve(stack, {"UnaryUnary": twice_aio if stack == "aio" else twice}, accept_after=SOON)
    with grpc.insecure_channel(server.target) as channel:
        call = start(channel, "UnaryUnary", b"")
        assert call.exception(PATIENCE).code() is grpc.StatusCode.UNKNOWN
        assert tuple(call.initial_metadata()) == (METADATA if first == 0 else ())


def test_the_context_is_taken_for_grpcios_own(serve: Serve, loop: LoopThread) -> None:
    kinds: list[type] = []

    async def bare(request: bytes, context: Any) -> bytes:
        kinds.append(type(context))
        return b""

    async def ours(request: bytes, context: Any) -> bytes:
        context.add_done_callback(lambda given: given_back.append(given is context))
        taken_for_it = isinstance(context, kinds[0])
        return repr(
            (taken_for_it, context.peer()[:4], context.code(), context.done(), context.invocation_metadata() != ())
        ).encode()

    given_back: list[bool] = []
    server = AioServer(loop, {"UnaryUnary": bare})
    with grpc.insecure_channel(server.target) as channel:
        start(channel, "UnaryUnary", b"").result()
    server.close()
    with grpc.insecure_channel(serve("aio", {"UnaryUnary": ours}, accept_after=SOON).target) as channel:
        assert start(channel, "UnaryUnary", b"").result() == b"(True, 'ipv4', None, False, True)"
    wait_until(lambda: given_back)
    assert given_back == [True]

    def sync(request: bytes, context: Any) -> bytes:
        assert isinstance(context, grpc.ServicerContext)
        return type(context).__name__.encode()

    with grpc.insecure_channel(serve("sync", {"UnaryUnary": sync}, accept_after=SOON).target) as channel:
        assert start(channel, "UnaryUnary", b"").result() == b"_Context"


def jitters(stack: str, kind: str = "UnaryUnary") -> Any:
    """Return a handler that ends in one of four ways at about the time at which it is accepted."""

    def end(request: bytes, context: Any) -> bytes:
        delay, how = request.split()
        threading.Event().wait(float(delay))
        if how == b"abort":
            context.abort(grpc.StatusCode.DATA_LOSS, "lost")
        if how == b"raise":
            raise ValueError("wrong")
        if how == b"own":
            hidden(context, OWN, METADATA)
        return b"done"

    async def end_aio(request: bytes, context: Any) -> bytes:
        delay, how = request.split()
        await asyncio.sleep(float(delay))  # sleep: a slow handler is the subject
        if how == b"abort":
            await context.abort(grpc.StatusCode.DATA_LOSS, "lost")
        if how == b"raise":
            raise ValueError("wrong")
        if how == b"own":
            await hidden(context, OWN, METADATA)
        return b"done"

    def stream(request: bytes, context: Any) -> Iterator[bytes]:
        yield end(request, context)

    async def stream_aio(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield await end_aio(request, context)

    async def writer(request: bytes, context: Any) -> None:
        await context.write(await end_aio(request, context))

    if kind == "UnaryUnary":
        return end_aio if stack == "aio" else end
    return {"aio": stream_aio, "writes": writer}.get(stack, stream)


EXPECTED = {
    b"return": grpc.StatusCode.OK,
    b"abort": grpc.StatusCode.DATA_LOSS,
    b"raise": grpc.StatusCode.UNKNOWN,
}


@pytest.mark.parametrize(
    ("style", "kind"),
    [(style, kind) for style in ("sync", "aio", "plain") for kind in ("UnaryUnary", "UnaryStream")]
    + [("writes", "UnaryStream")],
)
def test_the_status_is_right_when_handlers_end_just_as_they_are_accepted(serve: Serve, style: str, kind: str) -> None:
    server = serve("aio" if style == "writes" else style, {kind: jitters(style, kind)}, accept_after=SOON)
    with grpc.insecure_channel(server.target) as channel:
        for round_ in range(8):
            calls = []
            for step in range(12):
                for how in EXPECTED:
                    delay = SOON - 0.002 + 0.0004 * step + 0.00005 * round_
                    calls.append((how, start(channel, kind, b"%f %s" % (delay, how), timeout=PATIENCE)))
            for how, call in calls:
                responses: list[bytes] = []
                try:
                    responses.extend([call.result()] if kind == "UnaryUnary" else call)
                except grpc.RpcError:
                    pass
                assert call.code() is EXPECTED[how], call.details()
                assert responses == ([b"done"] if how == b"return" else [])


def test_own_metadata_sent_just_as_the_rpc_is_accepted_never_fails_the_rpc(serve: Serve, stack: str) -> None:
    for step in range(10):
        server = serve(stack, {"UnaryUnary": jitters(stack)}, accept_after=SOON)
        with grpc.insecure_channel(server.target) as channel:
            calls = [
                start(channel, "UnaryUnary", b"%f own" % (SOON - 0.002 + 0.0004 * step), timeout=PATIENCE)
                for _ in range(8)
            ]
            for call in calls:
                assert call.result(PATIENCE) == b"done"
                assert tuple(call.initial_metadata()) in ((), METADATA)


def test_rpcs_that_are_cancelled_are_not_accepted(serve: Serve, stack: str) -> None:
    gate = Gate()
    server = serve(stack, {"UnaryUnary": gate.handler(stack, "UnaryUnary")}, accept_after=SOON)
    accepted: list[Any] = []
    server.interceptor.observers.add(accepted.append)
    with grpc.insecure_channel(server.target) as channel:
        call = start(channel, "UnaryUnary", b"", timeout=SOON / 4)
        assert call.exception(PATIENCE).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        threading.Event().wait(SLOW)
        gate.open.set()
    assert not any(isinstance(event, events.RpcAccepted) for event in accepted)


@pytest.mark.parametrize("wrong", [0, -1, 11, float("nan"), "0.02", True])
def test_a_wrong_delay_is_refused(wrong: Any) -> None:
    for make in (grpc_heartbeat.server_interceptors, grpc_heartbeat.aio.server_interceptors):
        with pytest.raises((TypeError, ValueError), match="accept_after must be"):
            make(accept_after=wrong)


def test_other_interceptors_contexts_are_accepted_or_left_alone() -> None:
    """A context whose class cannot be changed is used as it is."""

    class Slotted:
        __slots__ = ("_inner",)

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    class Other(grpc.ServerInterceptor):
        def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
            handler = continuation(handler_call_details)

            def handle(request: Any, context: Any) -> Any:
                return handler.unary_unary(request, Slotted(context))

            return grpc.unary_unary_rpc_method_handler(handle)

    def slow(request: bytes, context: Any) -> bytes:
        threading.Event().wait(SLOW)
        return type(context).__name__.encode()

    server = SyncServer({"UnaryUnary": slow}, [Other(), *grpc_heartbeat.server_interceptors(accept_after=0.01)])
    with grpc.insecure_channel(server.target) as channel:
        assert start(channel, "UnaryUnary", b"").result() == b"Slotted"
    server.close()


def test_what_comes_too_late_for_a_plain_handler_is_not_sent() -> None:
    class Context:
        sent = 0

        def send_initial_metadata(self, metadata: Any) -> None:
            self.sent += 1

    class End:
        over = False
        sending = threading.Lock()

    context = Context()
    standing = PlainAcceptingContext(context, ServerState().method("/a/b"), 0.0, End())
    standing.settle()
    standing._send()
    assert context.sent == 0
