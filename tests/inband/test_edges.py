"""What in-band keepalive must not change: peers that do not know it, other messages, metadata, ends, and errors."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat.core.inband import BEAT_BYTES, KEY, MAGIC, Beat, encode
from tests.heartbeat.relay import Relay
from tests.inband.ends import EVERY, INBAND, STYLES, Server
from tests.inband.test_streams import Reader
from tests.inband.wire import Tap, messages
from tests.peers import PATIENCE, AioServer, LoopThread, SyncServer, path, wait_until

Serve = Callable[..., Server]
every_style = pytest.mark.parametrize("style", STYLES)
FORGED = encode(Beat(1, 0), b"\0" * 8)


class Stream:
    """A bidirectional sync stream that the test writes to."""

    def __init__(self, channel: Any, **kwargs: Any) -> None:
        self.requests: queue.Queue[bytes | None] = queue.Queue()
        self.call: Any = channel.stream_stream(path("StreamStream"))(iter(self.requests.get, None), **kwargs)
        self.reader = Reader(self.call)

    def put(self, request: bytes) -> None:
        """Send ``request`` and wait for its echo."""
        count = len(self.reader.messages)
        self.requests.put(request)
        wait_until(lambda: len(self.reader.messages) > count)

    def quiet(self, beats: int = 3) -> None:
        """Wait for beats both ways."""
        heard, sent = self.call.inband.heard, self.call.inband.sent
        wait_until(lambda: self.call.inband.heard >= heard + beats and self.call.inband.sent >= sent + beats)

    def end(self) -> list[bytes]:
        self.requests.put(None)
        return self.reader.all()


@every_style
def test_a_server_that_does_not_want_it_sees_nothing(serve: Serve, style: str) -> None:
    server = serve(style, inband=None)
    with (
        Tap(server.target) as tap,
        grpc_heartbeat.insecure_channel(tap.target, inband=INBAND) as channel,
    ):
        stream = Stream(channel)
        stream.put(b"a")
        assert not threading.Event().wait(4 * EVERY)
        stream.put(FORGED)
        assert stream.end() == [b"<a>", b"<" + FORGED + b">"]
        assert stream.call.inband.agreed is not True
        assert stream.call.inband.sent == 0
        assert [len(message) - 5 for message in messages(tap.up)] == [1, BEAT_BYTES]


@every_style
def test_a_client_that_does_not_want_it_sees_nothing(serve: Serve, style: str) -> None:
    server = serve(style)
    with Tap(server.target) as tap, grpc.insecure_channel(tap.target) as channel:
        requests: queue.Queue[bytes | None] = queue.Queue()
        method: Any = channel.stream_stream(path("StreamStream"))
        call = method(iter(requests.get, None))
        requests.put(b"a")
        assert next(call) == b"<a>"
        assert not threading.Event().wait(4 * EVERY)
        requests.put(FORGED)
        requests.put(None)
        assert list(call) == [b"<" + FORGED + b">"]
        assert KEY not in dict(call.initial_metadata())
        assert [len(message) - 5 for message in messages(tap.down)] == [3, BEAT_BYTES + 2]


@every_style
def test_data_messages_are_the_same_bytes_on_the_wire(serve: Serve, style: str) -> None:
    server = serve(style)
    data = [b"", b"a", MAGIC, FORGED, b"x" * 100_000, b"last"]
    seen: list[tuple[list[bytes], list[bytes]]] = []
    token = b""
    for inband in (None, INBAND):
        with Tap(server.target) as tap:
            with grpc_heartbeat.insecure_channel(tap.target, inband=inband) as channel:
                stream = Stream(channel)
                for message in data:
                    stream.put(message)
                    if inband is not None:
                        stream.quiet(1)
                assert stream.end() == [b"<" + message + b">" for message in data]
                token = bytes.fromhex(dict(stream.call.initial_metadata()).get(KEY, ""))
            seen.append((messages(tap.up), messages(tap.down)))
    (plain_up, plain_down), (up, down) = seen
    beats = [message for message in up + down if message[5:].startswith(MAGIC + token)]
    assert len(beats) >= 2 * len(data)
    assert [message for message in up if message not in beats] == plain_up
    assert [message for message in down if message not in beats] == plain_down


@every_style
def test_a_message_that_looks_like_a_beat_is_data_in_both_directions(serve: Serve, style: str) -> None:
    server = serve(style)
    with grpc_heartbeat.insecure_channel(server.target, inband=INBAND) as channel:
        method: Any = channel.stream_stream(path("StreamStream"), response_deserializer=lambda data: data[1:-1])
        requests: queue.Queue[bytes | None] = queue.Queue()
        call = method(iter(requests.get, None))
        reader = Reader(call)
        requests.put(FORGED)  # before the server can have agreed
        wait_until(lambda: call.inband.heard >= 2)
        requests.put(FORGED)
        requests.put(None)
        assert reader.all() == [FORGED, FORGED]
        assert server.requests == [FORGED, FORGED]


@every_style
def test_the_offer_is_hidden_from_handlers_that_copy_metadata(serve: Serve, style: str) -> None:
    server = serve(style)
    with grpc_heartbeat.insecure_channel(server.target, inband=INBAND) as channel:
        stream = Stream(channel, metadata=(("a", "1"), ("a", "2"), (KEY, "from another hop")))
        stream.put(b"a")
        entries = [tuple(entry) for entry in server.contexts[0].invocation_metadata()]
        stream.end()
    assert ("a", "1") in entries
    assert ("a", "2") in entries
    assert not [entry for entry in entries if entry[0] == KEY]


@every_style
def test_compressed_streams_carry_beats(serve: Serve, style: str) -> None:
    server = serve(style)
    with grpc_heartbeat.insecure_channel(server.target, compression=grpc.Compression.Gzip, inband=INBAND) as channel:
        stream = Stream(channel)
        stream.put(b"a" * 1000)
        stream.quiet()
        stream.put(b"b" * 1000)
        assert stream.end() == [b"<" + b"a" * 1000 + b">", b"<" + b"b" * 1000 + b">"]


@every_style
def test_a_cancelled_stream_ends_at_once(serve: Serve, style: str) -> None:
    server = serve(style)
    with grpc_heartbeat.insecure_channel(server.target, inband=INBAND) as channel:
        requests: queue.Queue[bytes | None] = queue.Queue()
        call: Any = channel.stream_stream(path("StreamStream"))(iter(requests.get, None))
        requests.put(b"a")
        assert next(call) == b"<a>"
        assert call.cancel()
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        assert caught.value is call
        assert call.code() is grpc.StatusCode.CANCELLED
        requests.put(None)


@every_style
def test_beats_tell_an_idle_stream_from_a_dead_one(serve: Serve, style: str) -> None:
    server = serve(style)
    timeouts = grpc_heartbeat.Timeouts(idle=1.0)
    with (
        Relay(server.target) as relay,
        grpc_heartbeat.insecure_channel(relay.target, inband=INBAND, timeouts=timeouts) as channel,
    ):
        requests: queue.Queue[bytes | None] = queue.Queue()
        call: Any = channel.stream_stream(path("StreamStream"))(iter(requests.get, None))
        requests.put(b"a")
        assert next(call) == b"<a>"
        freezing = threading.Timer(1.6, relay.freeze)
        freezing.start()
        with pytest.raises(grpc.RpcError):
            next(call)
        freezing.join()
        assert call.timeout.layer == "idle"
        assert call.inband.heard > 16  # for longer than the limit, nothing but beats came
        relay.thaw()
        requests.put(None)


def test_dropping_a_stream_cancels_it(serve: Serve) -> None:
    server = serve("threads")
    timeouts = grpc_heartbeat.Timeouts(connect=5)
    with grpc_heartbeat.insecure_channel(server.target, inband=INBAND, timeouts=timeouts) as channel:
        call: Any = channel.unary_stream(path("UnaryStream"))(b"go")
        assert next(call) == b"first"
        del call
        gc.collect()
        wait_until(lambda: not server.contexts[0].is_active())


def behaviors(stream_stream: Any) -> dict[str, Any]:
    return {"StreamStream": stream_stream}


def speaking(requests: Any, context: Any) -> Iterator[bytes]:
    context.send_initial_metadata((("own", "yes"),))
    yield from requests


async def aio_speaking(requests: Any, context: Any) -> AsyncIterator[bytes]:
    await context.send_initial_metadata((("own", "yes"),))
    async for request in requests:
        yield request


@pytest.mark.parametrize("stack", ["sync", "aio", "functions in a pool"])
def test_a_handlers_own_initial_metadata_are_sent_with_ours(loop: LoopThread, stack: str) -> None:
    server: Any
    if stack == "sync":
        server = SyncServer(behaviors(speaking), grpc_heartbeat.server_interceptors(inband=INBAND))
    else:
        behavior = aio_speaking if stack == "aio" else speaking
        server = AioServer(loop, behaviors(behavior), grpc_heartbeat.aio.server_interceptors(inband=INBAND))
    try:
        with grpc_heartbeat.insecure_channel(server.target, inband=INBAND) as channel:
            stream = Stream(channel)
            stream.put(b"a")
            stream.quiet()
            metadata = dict(stream.call.initial_metadata())
            assert metadata["own"] == "yes"
            assert len(metadata[KEY]) == 16
            assert stream.end() == [b"a"]
    finally:
        server.close()


def failing(requests: Any, context: Any) -> Iterator[bytes]:
    for request in requests:
        if request == b"abort":
            context.abort(grpc.StatusCode.DATA_LOSS, "as asked")
        if request == b"raise":
            raise ValueError("as asked")
        yield request


async def aio_failing(requests: Any, context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        if request == b"abort":
            await context.abort(grpc.StatusCode.DATA_LOSS, "as asked")
        if request == b"raise":
            raise ValueError("as asked")
        yield request


async def aio_failing_writer(requests: Any, context: Any) -> None:
    async for response in aio_failing(requests, context):
        await context.write(response)


@pytest.mark.parametrize("stack", ["sync", "generator", "coroutine", "functions in a pool"])
@pytest.mark.parametrize(("how", "code"), [("abort", grpc.StatusCode.DATA_LOSS), ("raise", grpc.StatusCode.UNKNOWN)])
def test_a_handlers_failure_is_what_the_client_sees(
    loop: LoopThread, stack: str, how: str, code: grpc.StatusCode
) -> None:
    server: Any
    if stack == "sync":
        server = SyncServer(behaviors(failing), grpc_heartbeat.server_interceptors(inband=INBAND))
    else:
        behavior: Any = {"generator": aio_failing, "coroutine": aio_failing_writer}.get(stack, failing)
        server = AioServer(loop, behaviors(behavior), grpc_heartbeat.aio.server_interceptors(inband=INBAND))
    try:
        with grpc_heartbeat.insecure_channel(server.target, inband=INBAND) as channel:
            requests: queue.Queue[bytes | None] = queue.Queue()
            call: Any = channel.stream_stream(path("StreamStream"))(iter(requests.get, None))
            requests.put(b"a")
            assert next(call) == b"a"
            requests.put(how.encode())
            with pytest.raises(grpc.RpcError):
                next(call)
            assert call.code() is code
            assert "as asked" in call.details()
            requests.put(None)
    finally:
        server.close()


def test_requests_that_raise_end_the_call_as_grpcio_does(serve: Serve) -> None:
    server = serve("threads")

    def requests() -> Iterator[bytes]:
        yield b"a"
        raise ValueError("no more")

    ends = []
    for inband in (None, INBAND):
        with grpc_heartbeat.insecure_channel(server.target, inband=inband) as channel:
            call: Any = channel.stream_stream(path("StreamStream"))(requests())
            with pytest.raises(grpc.RpcError):
                list(call)
            ends.append((call.code(), call.details()))
    assert ends[0] == ends[1]


async def test_aio_requests_that_raise_end_the_call_as_grpcio_does(serve: Serve) -> None:
    server = serve("generators")

    async def requests() -> AsyncIterator[bytes]:
        yield b"a"
        raise ValueError("no more")

    ends = []
    for inband in (None, INBAND):
        async with grpc_heartbeat.aio.insecure_channel(server.target, inband=inband) as channel:
            call: Any = channel.stream_stream(path("StreamStream"))(requests())
            with pytest.raises(asyncio.CancelledError):
                [message async for message in call]
            ends.append((await call.code(), await call.details(), call.cancelled()))
    assert ends[0] == ends[1]


async def test_aio_a_call_that_iterates_cannot_be_written_to(serve: Serve) -> None:
    server = serve("generators")
    async with grpc_heartbeat.aio.insecure_channel(server.target, inband=INBAND) as channel:
        call: Any = channel.stream_stream(path("StreamStream"))(iter([b"a"]))
        with pytest.raises(grpc.aio.UsageError):
            await call.write(b"b")
        with pytest.raises(grpc.aio.UsageError):
            await call.done_writing()
        assert [message async for message in call] == [b"<a>"]


async def sent(call: Any, beats: int) -> None:
    give_up = asyncio.get_running_loop().time() + PATIENCE
    while call.inband.sent < beats:
        assert asyncio.get_running_loop().time() < give_up
        await asyncio.sleep(0.01)  # sleep: nothing tells of a beat


async def test_aio_a_writer_that_is_cancelled_cancels_the_call_and_no_beat_does(serve: Serve) -> None:
    server = serve("generators")
    async with grpc_heartbeat.aio.insecure_channel(server.target, inband=INBAND) as channel:
        call: Any = channel.stream_stream(path("StreamStream"))()
        await call.write(b"a")
        assert await call.read() == b"<a>"
        reading = asyncio.ensure_future(call.read())
        await sent(call, 3)
        await call.write(b"b")
        assert await reading == b"<b>"
        assert call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call.read()
        assert call.cancelled()


async def test_aio_dropping_a_stream_cancels_it(serve: Serve) -> None:
    server = serve("threads")
    async with grpc_heartbeat.aio.insecure_channel(server.target, inband=INBAND) as channel:
        methods: list[tuple[Any, Any]] = [
            (channel.unary_stream(path("UnaryStream")), b"go"),
            (channel.stream_stream(path("StreamStream")), iter([b"a"])),
        ]
        for method, request in methods:
            call = method(request)
            assert await call.read()
            del call
            gc.collect()
            context = server.contexts[-1]
            give_up = asyncio.get_running_loop().time() + PATIENCE
            while context.is_active():
                assert asyncio.get_running_loop().time() < give_up
                await asyncio.sleep(0.01)  # sleep: the server's side of the end is not told here


async def test_aio_beats_tell_an_idle_stream_from_a_dead_one(serve: Serve) -> None:
    server = serve("generators")
    timeouts = grpc_heartbeat.Timeouts(idle=1.0)
    with Relay(server.target) as relay:
        async with grpc_heartbeat.aio.insecure_channel(relay.target, inband=INBAND, timeouts=timeouts) as channel:
            call: Any = channel.stream_stream(path("StreamStream"))()
            await call.write(b"a")
            assert await call.read() == b"<a>"
            asyncio.get_running_loop().call_later(1.6, relay.freeze)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.timeout.layer == "idle"  # type: ignore[attr-defined]  # ours
            assert call.inband.heard > 16
            relay.thaw()


@every_style
def test_after_a_half_close_the_server_goes_on_alone(loop: LoopThread, style: str) -> None:
    resume = threading.Event()

    def last_word(requests: Any, context: Any) -> Iterator[bytes]:
        yield b",".join(requests)
        resume.wait(PATIENCE)
        yield b"last"

    async def aio_last_word(requests: Any, context: Any) -> AsyncIterator[bytes]:
        yield b",".join([request async for request in requests])
        await asyncio.get_running_loop().run_in_executor(None, resume.wait, PATIENCE)
        yield b"last"

    async def writer(requests: Any, context: Any) -> None:
        async for response in aio_last_word(requests, context):
            await context.write(response)

    server: Any
    if style.startswith("threads"):
        server = SyncServer(behaviors(last_word), grpc_heartbeat.server_interceptors(inband=INBAND))
    else:
        behavior: Any = {"generators": aio_last_word, "coroutines": writer}.get(style, last_word)
        server = AioServer(loop, behaviors(behavior), grpc_heartbeat.aio.server_interceptors(inband=INBAND))
    try:
        with grpc_heartbeat.insecure_channel(server.target, inband=INBAND) as channel:
            call: Any = channel.stream_stream(path("StreamStream"))(iter([b"a", b"b"]))
            reader = Reader(call)
            wait_until(lambda: call.inband.heard >= 12)  # more than may stay unanswered
            resume.set()
            assert reader.all() == [b"a,b", b"last"]
    finally:
        resume.set()
        server.close()


@pytest.mark.parametrize("kind", ["stream_stream", "stream_unary"])
async def test_aio_a_write_limit_holds_behind_interceptors_too(serve: Serve, kind: str) -> None:
    server = serve("generators")
    timeouts = grpc_heartbeat.Timeouts(write=5.0)
    async with grpc_heartbeat.aio.insecure_channel(
        server.target, inband=INBAND, timeouts=timeouts, interceptors=[_Nothing()]
    ) as channel:
        if kind == "stream_unary":
            assert await channel.stream_unary(path("StreamUnary"))(iter([b"a", b"b"])) == b"a,b"
        else:
            call: Any = channel.stream_stream(path("StreamStream"))(iter([b"a", b"b"]))
            assert [message async for message in call] == [b"<a>", b"<b>"]


class _Nothing(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc,unused-ignore]
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(client_call_details, request)


async def test_aio_a_call_that_was_never_sent_is_left_as_it_is(serve: Serve) -> None:
    server = serve("generators")
    async with grpc_heartbeat.aio.insecure_channel(server.target, inband=INBAND) as channel:
        call: Any = channel.stream_stream(path("StreamStream"))(iter([b"a"]), timeout=-1)
        assert not hasattr(call, "inband")
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert server.requests == []
