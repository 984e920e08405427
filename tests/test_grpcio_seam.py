"""The seam at grpcio's private names: a blocking call's handle, whoever comes first, and nothing where the names are not."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat import _faults, _grpcio, _grpcio_at_once
from grpc_heartbeat._grpcio import CancelHandle, calling, interruptible, multicallable_of
from grpc_heartbeat.channel.scoped import BlockedCall, block_in
from grpc_heartbeat.core.scope import Scope
from tests.peers import PATIENCE, SyncServer, path, wait_until
from tests.seams import PUBLIC_API_ONLY, needs_seam


class Call:
    """What ``segregated_call`` returns."""

    def __init__(self) -> None:
        self.cancelled_with: list[tuple[int, str]] = []

    def cancel(self, code: int, details: str) -> None:
        self.cancelled_with.append((code, details))


class Channel:
    def __init__(self) -> None:
        self.calls: list[Call] = []

    def segregated_call(self, *args: Any) -> Call:
        self.calls.append(Call())
        return self.calls[-1]

    def other(self) -> str:
        return "passed on"


class MultiCallable:
    def __init__(self) -> None:
        self._channel: Any = Channel()

    def __call__(self, *args: Any) -> Call:
        call: Call = self._channel.segregated_call(*args)
        return call


@pytest.fixture
def method() -> MultiCallable:
    if PUBLIC_API_ONLY:
        pytest.skip("only grpcio's public API may be used")
    multicallable = MultiCallable()
    assert interruptible(multicallable)
    return multicallable


def test_a_verdict_that_comes_before_the_call_ends_it_at_once(method: MultiCallable) -> None:
    handle = CancelHandle()
    handle.end(grpc.StatusCode.CANCELLED, "too late")
    calling.handle = handle
    assert method().cancelled_with == [(1, "too late")]


def test_a_verdict_that_comes_after_the_call_ends_it_and_the_first_one_stands(method: MultiCallable) -> None:
    handle = CancelHandle()
    calling.handle = handle
    call = method()
    assert call.cancelled_with == []
    handle.end(grpc.StatusCode.DEADLINE_EXCEEDED, "first")
    handle.end(grpc.StatusCode.CANCELLED, "second")
    assert call.cancelled_with == [(4, "first"), (4, "first")]


def test_a_handle_takes_one_call_only(method: MultiCallable) -> None:
    handle = CancelHandle()
    calling.handle = handle
    first, second = method(), method()
    handle.end(grpc.StatusCode.CANCELLED, "")
    assert first.cancelled_with
    assert not second.cancelled_with


def test_a_call_inside_of_a_call_leaves_the_outer_handle_in_place(method: MultiCallable) -> None:
    outer = CancelHandle()
    calling.handle = outer
    try:
        block_in(Scope(None, "limit"), BlockedCall(), method)
        assert calling.handle is outer
    finally:
        calling.handle = None


def test_the_stand_in_passes_everything_else_on(method: MultiCallable) -> None:
    assert method._channel.other() == "passed on"


def test_preparing_twice_is_preparing_once(method: MultiCallable) -> None:
    before = method._channel
    assert interruptible(method)
    assert method._channel is before


def test_what_has_not_the_names_is_not_interruptible(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not interruptible(object())
    assert not interruptible(None)
    assert multicallable_of(len) is None
    monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", True)
    assert not interruptible(MultiCallable())


@needs_seam
def test_grpcio_still_has_the_names() -> None:
    """When this fails on a new grpcio, blocking calls have fallen back to futures: correct, but slower."""
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        assert interruptible(channel.unary_unary("/a/b"))
        assert interruptible(channel.stream_unary("/a/b"))


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_grpcio, "_works", None)
    monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", False)


@pytest.mark.usefixtures("untried")
def test_the_seam_is_tried_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[None] = []
    original = _grpcio._self_test

    def counted() -> None:
        tried.append(None)
        original()

    monkeypatch.setattr(_grpcio, "_self_test", counted)
    assert _grpcio.usable()
    assert _grpcio.usable()
    assert len(tried) == 1


@pytest.mark.internal_faults
@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_GrpcioChannel", None),
        ("_ReceiveHeaders", None),
        ("_ReceiveHeaders", int),
        ("_prepare", lambda multicallable: False),
        ("_reword", lambda error, code, details: False),
        ("_BATCHES", 5),
    ],
)
def test_a_seam_that_fails_its_trial_is_counted_and_not_used(
    monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    before = _faults.counts().get("grpcio.self_test", 0)
    monkeypatch.setattr(_grpcio, name, value)
    assert not _grpcio.usable()
    assert _faults.counts()["grpcio.self_test"] == before + 1
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        assert not interruptible(channel.unary_unary("/a/b"))
        assert _grpcio_at_once.state_reader(channel) is None
        assert _grpcio_at_once.plain_channel(channel) is channel
        call = channel.unary_unary("/a/b").future(b"")
        assert _grpcio_at_once.headers_seen(call) is None
        assert not _grpcio_at_once.cancel_at_once(call, grpc.StatusCode.CANCELLED, "")
        assert not _grpcio.reword(call, grpc.StatusCode.CANCELLED, "")
        call.cancel()


@needs_seam
def test_the_state_of_a_channel_is_seen_through_whatever_is_around_it() -> None:
    class Interceptor(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            return continuation(client_call_details, request)

    with grpc.insecure_channel("127.0.0.1:1") as bare:
        around = grpc_heartbeat.wrap_channel(grpc.intercept_channel(bare, Interceptor()))
        read = _grpcio_at_once.state_reader(around)
        assert read is not None
        assert read(False) == grpc.ChannelConnectivity.IDLE.value[0]
        assert _grpcio_at_once.plain_channel(around) is bare
        for method in (bare.unary_unary("/a/b"), bare.stream_stream("/a/b")):
            assert _grpcio_at_once.state_reader(method) is not None
    with pytest.raises(ValueError, match="closed"):
        read(False)


@needs_seam
@pytest.mark.parametrize("form", ["__call__", "future"])
def test_a_split_call_hears_of_its_acceptance_before_its_response(form: str) -> None:
    answer = threading.Event()

    def accept_first(request: bytes, context: Any) -> bytes:
        context.send_initial_metadata((("accepted", "yes"),))
        answer.wait(PATIENCE)
        return request

    server = SyncServer({"UnaryUnary": accept_first})
    with grpc.insecure_channel(server.target) as channel:
        method: Any = channel.unary_unary(path("UnaryUnary"))
        assert interruptible(method)
        if form == "future":
            calling.split = True
            call = method.future(b"x")
            assert not calling.split
            wait_until(lambda: _grpcio_at_once.headers_seen(call))
            assert not call.done()
            answer.set()
            assert call.result(PATIENCE) == b"x"
        else:
            handle = CancelHandle()
            handle.split = True

            def answer_when_accepted() -> None:
                wait_until(lambda: handle.headers)
                answer.set()

            helper = threading.Thread(target=answer_when_accepted)
            helper.start()
            calling.handle = handle
            response, call = method.with_call(b"x")
            helper.join(PATIENCE)
            assert response == b"x"
        assert ("accepted", "yes") in [tuple(entry) for entry in call.initial_metadata()]
    server.close()
