"""Blocking calls that are made directly: what the C library is given, and what comes back, are grpcio's own to the letter."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat import _faults, _grpcio, _grpcio_blocking, deadline
from grpc_heartbeat._current import current_scope
from grpc_heartbeat._grpcio import CancelHandle, channel_under, interruptible
from grpc_heartbeat._grpcio_blocking import DirectCalls, caller
from tests.peers import PATIENCE, SyncServer, path, wait_until

pytestmark = pytest.mark.skipif(not _grpcio.usable(), reason="only grpcio's public API may be used")

ENTRIES = (("first", "1"), ("second", "2"))


def behave(request: bytes, context: Any) -> bytes:
    if request == b"fail":
        context.set_trailing_metadata((("why", "because"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "not here")
    if request == b"wait":
        over = threading.Event()
        context.add_callback(over.set)
        context.send_initial_metadata((("accepted", "yes"),))
        over.wait(PATIENCE)
    return request


def explode(_: Any) -> Any:
    raise RuntimeError("no such thing")


@pytest.fixture
def target() -> Iterator[str]:
    server = SyncServer({"UnaryUnary": behave})
    yield server.target
    server.close()


def outcome(call: Any, *args: Any) -> tuple[Any, ...]:
    """Return the response of a call, or all that its error says."""
    try:
        return ("response", call(*args))
    except grpc.RpcError as error:
        found: Any = error
        text, details = repr(found).partition("debug_error_string")[0], found.details() or ""
        said = [_without_removal(part) for part in (text, details)]
        seen = (found.code(), *said, list(found.trailing_metadata()), found.done(), found.cancelled())
        return (type(found), [entry for entry in found.initial_metadata() or () if entry[0] == "accepted"], *seen)
    except Exception as error:
        return (type(error), str(error))


def _without_removal(text: str) -> str:
    """Return ``text`` as gRPC has it when its own deadline comes before the server's reset; which of them does is a race."""
    return text.replace("Stream removed (Deadline Exceeded)", "Deadline Exceeded")


def directly(method: Any, split: bool) -> Any:
    assert interruptible(method)
    direct = caller(method)
    assert isinstance(direct, DirectCalls)

    def call(request: Any, timeout: float | None = None) -> Any:
        handle = CancelHandle()
        handle.split = split
        return direct(handle, request, timeout, None, None, None, None)

    return call


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    ("request_", "timeout", "serializer", "deserializer"),
    [
        (b"fine", None, None, None),
        (b"", 30.0, bytes.upper, bytes.decode),
        (b"fail", 30.0, None, bytes.decode),
        (b"wait", 0.1, None, None),
        (b"late", -1.0, None, None),
        (b"fine", None, explode, None),
        (b"fine", None, None, explode),
        (b"fine", None, lambda _: None, None),
        (b"fine", None, None, lambda _: None),
        ("not bytes", None, None, None),
    ],
)
def test_a_call_ends_as_it_would_have(
    target: str, request_: Any, timeout: float | None, serializer: Any, deserializer: Any, split: bool
) -> None:
    with grpc.insecure_channel(target) as channel:
        bare: Any = channel.unary_unary(path("UnaryUnary"), serializer, deserializer)
        direct = directly(channel.unary_unary(path("UnaryUnary"), serializer, deserializer), split)
        assert outcome(direct, request_, timeout) == outcome(bare, request_, timeout)


@pytest.mark.parametrize("split", [False, True])
def test_a_closed_channel_and_nobody_there_are_told_as_always(split: bool) -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        bare: Any = channel.unary_unary(path("UnaryUnary"))
        direct = directly(channel.unary_unary(path("UnaryUnary")), split)
        assert outcome(direct, b"x")[2] is outcome(bare, b"x")[2] is grpc.StatusCode.UNAVAILABLE
    assert outcome(direct, b"x") == outcome(bare, b"x")


def end_when_made(handle: CancelHandle) -> None:
    wait_until(lambda: handle.call)
    handle.end(*VERDICT)


@pytest.mark.parametrize("split", [False, True])
def test_a_handle_ends_a_call_before_and_while_it_is_made(target: str, split: bool) -> None:
    with grpc.insecure_channel(target) as channel:
        method: Any = channel.unary_unary(path("UnaryUnary"))
        assert interruptible(method)
        direct = caller(method)
        for waits in (False, True):
            handle = CancelHandle()
            handle.split = split
            ending = threading.Thread(target=end_when_made, args=(handle,))
            if waits:
                ending.start()
            else:
                handle.end(*VERDICT)
            with pytest.raises(grpc.RpcError) as caught:
                direct(handle, b"wait", None, None, None, None, None)
            if waits:
                ending.join(PATIENCE)
            error: Any = caught.value
            assert error.code() is VERDICT[0]
            assert VERDICT[1] in error.details()  # gRPC may add words of its own


VERDICT = (grpc.StatusCode.DATA_LOSS, "the test has ended it")


def test_a_split_call_hears_of_its_acceptance(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        method: Any = channel.unary_unary(path("UnaryUnary"))
        assert interruptible(method)
        handle = CancelHandle()
        handle.split = True

        def end_when_accepted() -> None:
            wait_until(lambda: handle.headers)
            handle.end(*VERDICT)

        ending = threading.Thread(target=end_when_accepted)
        ending.start()
        with pytest.raises(grpc.RpcError) as caught:
            caller(method)(handle, b"wait", 30.0, None, None, None, None)
        ending.join(PATIENCE)
        error: Any = caught.value
        assert ("accepted", "yes") in list(error.initial_metadata())


@pytest.mark.parametrize("metadata", [None, (), ENTRIES, list(ENTRIES)])
@pytest.mark.parametrize("wait", [None, True, False])
@pytest.mark.parametrize("compression", [None, grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_the_same_headers_are_sent(
    monkeypatch: pytest.MonkeyPatch, metadata: Any, wait: bool | None, compression: Any
) -> None:
    sent: list[Any] = []

    class Stop(Exception):  # noqa: N818 - nothing went wrong
        """The headers are known."""

    def record(*args: Any) -> None:
        sent.append(args)
        raise Stop

    with grpc.insecure_channel("127.0.0.1:1") as channel:
        method: Any = channel.unary_unary("/a/b")
        assert interruptible(method)
        direct = caller(method)
        monkeypatch.setattr(_grpcio_blocking._compiled, "SendInitialMetadataOperation", record)
        monkeypatch.setattr(_grpcio_blocking, "_SendHeaders", record)
        for call in (method, lambda *args: direct(CancelHandle(), *args)):
            with pytest.raises(Stop):
                call(b"", None, metadata, None, wait, compression)
    assert sent[0] == sent[1]


@pytest.fixture
def interruptible_process() -> Iterator[None]:
    """Have SIGINT raise KeyboardInterrupt; who runs tests in parallel may have turned it off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible_process")
def test_an_interrupt_reaches_the_caller_and_leaves_nothing(target: str) -> None:
    with grpc_heartbeat.insecure_channel(target) as channel, deadline.limit(PATIENCE):
        scope = current_scope.get()
        assert scope is not None

        def interrupt() -> None:
            wait_until(lambda: scope.members)
            _thread.interrupt_main()

        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            channel.unary_unary(path("UnaryUnary"))(b"wait")
        interrupting.join(PATIENCE)
        assert not scope.members


def test_while_a_plug_in_observes_calls_grpcio_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        method: Any = channel.unary_unary("/a/b")
        assert interruptible(method)
        direct: Any = caller(method)
        direct._otherwise = lambda _, request, *__: request
        monkeypatch.setattr(_grpcio_blocking._plugins, "_OBSERVABILITY_PLUGIN", object())
        try:
            assert direct(CancelHandle(), b"x", None, None, None, None, None) == b"x"
        finally:
            monkeypatch.undo()


@pytest.mark.internal_faults
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_DEFAULTS", 1),
        ("_deadline_of", lambda deadline: 0.0),
        ("_SendClose", _grpcio_blocking._ReceiveStatus),
        ("_as_released", ()),
        ("_handle_event", lambda *_: None),
    ],
)
def test_a_grpcio_that_makes_its_calls_otherwise_makes_them_itself(
    monkeypatch: pytest.MonkeyPatch, target: str, name: str, value: Any
) -> None:
    before = _faults.counts().get("grpcio_blocking.self_test", 0)
    monkeypatch.setattr(_grpcio_blocking, "_test_passed", None)
    monkeypatch.setattr(_grpcio_blocking, name, value)
    with grpc_heartbeat.insecure_channel(target) as channel, deadline.limit(PATIENCE):
        assert channel.unary_unary(path("UnaryUnary"))(b"x") == b"x"
    with grpc.insecure_channel(target) as bare:
        method: Any = bare.unary_unary(path("UnaryUnary"))
        assert interruptible(method)
        assert not isinstance(caller(method), DirectCalls)
    assert _faults.counts()["grpcio_blocking.self_test"] == before + 1


def test_only_grpcios_own_are_made_directly() -> None:
    class Interceptor(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            return continuation(client_call_details, request)

    with grpc.insecure_channel("127.0.0.1:1") as channel:
        intercepted: Any = grpc.intercept_channel(channel, Interceptor()).unary_unary("/a/b")
        methods: list[Any] = [intercepted, channel.stream_unary("/a/b")]
        for method in methods:
            assert interruptible(method)
            assert not isinstance(caller(method), DirectCalls)
        assert channel_under(channel.unary_unary("/a/b")) is None
