"""The seam at grpcio's server: tried out, forbidden, changed, and deaf to what handlers raise."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

import grpc_heartbeat as hb
from grpc_heartbeat import _faults, _grpcio
from grpc_heartbeat import _grpcio_server_stream as seam
from grpc_heartbeat import _grpcio_server_stream_aio as aio_seam
from tests.heartbeat.raw_client import RawClient
from tests.peers import OPTIONS, PATIENCE, wait_until


def test_grpcio_is_as_it_was() -> None:
    seam.self_test()
    assert seam.usable() == aio_seam.usable() == (not _grpcio._PUBLIC_API_ONLY)


def test_the_public_api_alone_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", True)
    assert not seam.usable()
    assert not aio_seam.usable()
    assert seam.open_stream(iter(())) is None
    assert aio_seam.joined(object(), None) is None  # type: ignore[arg-type]  # not looked at


@pytest.mark.internal_faults
def test_a_grpcio_that_has_changed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", False)
    monkeypatch.setattr(seam, "_works", None)
    monkeypatch.setattr(seam, "_possibly_finish", lambda state, token: (None, ()))
    assert not seam.usable()
    monkeypatch.setattr(aio_seam, "_works", True)
    assert aio_seam.joined(object(), None) is None  # type: ignore[arg-type]  # not looked at
    assert not aio_seam.usable()


def test_another_iterator_than_grpcios_is_left_alone() -> None:
    assert seam.open_stream(iter([b"an interceptor's"])) is None


class Beat:
    """A completed operation that received a message."""

    success = True

    @property
    def batch_operations(self) -> tuple[Beat]:
        return (self,)

    def message(self) -> bytes:
        return b"beat"


class Listening:
    """A handler that answers each message, if that is possible."""

    def __init__(self, wire: seam.ServerStream, joined: bool) -> None:
        self.wire = wire
        self.joined = joined
        self.heard: list[bytes | None] = []

    def received(self, data: bytes | None) -> None:
        self.heard.append(data)
        if data is None:
            self.wire.release()
        elif self.joined:
            self.wire.answer(b"echo")
        else:
            self.wire.send(b"echo")

    def sent(self) -> None:
        self.wire.receive()


@pytest.mark.parametrize("cancelled", ["before a beat is taken in", "before its echo is sent", "joined, before a beat"])
def test_a_handler_that_can_start_nothing_more_hears_that_the_rpc_is_over(cancelled: str) -> None:
    grpcio: Any = seam._server
    state, call = grpcio._RPCState(), seam._Call()
    wire = seam.ServerStream(state, call)
    handler = Listening(wire, joined=cancelled.startswith("joined"))
    assert wire.begin(handler)
    if "beat" in cancelled:
        state.client = seam._CANCELLED
        call.started[0][1](Beat())
    else:
        call.started[0][1](Beat())
        state.client = seam._CANCELLED
        call.started[1][1](seam._Event())
    assert handler.heard == [b"beat", None]
    assert not state.due


class Clumsy:
    """A handler that fails at its second message."""

    def __init__(self, wire: seam.ServerStream) -> None:
        self.wire = wire
        self.heard = 0

    def received(self, data: bytes | None) -> None:
        self.heard += 1
        if self.heard > 1:
            raise SystemExit("out of a tag, this would end the server")
        self.wire.answer(b"fine")

    def sent(self) -> None:
        raise AssertionError("nothing is sent by itself")


@pytest.mark.internal_faults
@pytest.mark.skipif(_grpcio._PUBLIC_API_ONLY, reason="forbidden here")
def test_what_a_handler_raises_ends_its_rpc_and_not_the_server() -> None:
    def clumsy(requests: Any, _context: Any, _send: Any) -> None:
        wire = seam.open_stream(requests)
        assert wire is not None
        assert wire.begin(Clumsy(wire))

    clumsy.experimental_non_blocking = True  # type: ignore[attr-defined]  # how grpcio marks them
    method: dict[str, Any] = {"Keepalive": grpc.stream_stream_rpc_method_handler(clumsy)}
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, options=OPTIONS)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc_heartbeat.v1.Heartbeat", method),))
        target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        for _ in range(2):
            before = _faults.counts().get("heartbeat.stream", 0)
            client = RawClient(target)
            client.put(b"first")
            assert next(client.call) == b"fine"
            client.put(b"second")
            assert client.end()[0] is grpc.StatusCode.INTERNAL
            assert _faults.counts()["heartbeat.stream"] == before + 1
            client.close()
        state: Any = server
        wait_until(lambda: not state._state.rpc_states)
        assert server.stop(None).wait(PATIENCE)


class Stripping(grpc.ServerInterceptor):
    """Wraps handlers as interceptors of others do, without the marks that grpcio looks at."""

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        if handler is None or handler.stream_stream is None:
            return handler
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: handler.stream_stream(requests, context))


@pytest.mark.parametrize("strips", [False, True])
def test_our_interceptors_keep_heartbeats_off_the_workers_and_wrappers_that_do_not_are_lived_with(strips: bool) -> None:
    interceptors = [*hb.server_interceptors(), *([Stripping()] if strips else [])]
    pool = ThreadPoolExecutor(1)
    server = grpc.server(pool, interceptors=interceptors, options=OPTIONS)
    board = hb.add_to_server(server, load=None)  # what measures the load asks the workers
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    client = RawClient(target)
    client.greet()
    assert client.beat(1) is not None
    assert len(pool._threads) == strips
    client.close()
    server.stop(None).wait(PATIENCE)
    board.close()
    pool.shutdown()
