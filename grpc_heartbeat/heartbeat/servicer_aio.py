"""The Heartbeat service on an asyncio server.

Each stream is one coroutine that reads, answers and waits; what else there is to a stream is in ``aio_stream.py``. Where it
can, it answers and waits in one operation, which nearly halves the cost of a beat. It waits for frames in one function: a
coroutine costs memory for each function that it waits in, and there may be thousands.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat._grpcio_server_stream_aio import BatchError, joined
from grpc_heartbeat._ticks import loop_ticks
from grpc_heartbeat.heartbeat import codec
from grpc_heartbeat.heartbeat.aio_stream import AioStream, Shared
from grpc_heartbeat.heartbeat.answers import answer_ping
from grpc_heartbeat.heartbeat.held import HeldStreams, status_of


class AioHeartbeatServicer:
    """Answers heartbeats with the status on the board of ``held``."""

    def __init__(self, held: HeldStreams) -> None:
        self._held = held
        self._shared: Shared | None = None
        held.board.on_leave(self._leave)

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the handlers by method name."""
        keepalive: Any = self._keepalive
        ping: Any = self._ping
        return {
            "Keepalive": grpc.stream_stream_rpc_method_handler(keepalive),
            "Ping": grpc.unary_unary_rpc_method_handler(ping),
        }

    async def _keepalive(self, _requests: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        stream = self._open(context)
        if stream is None:
            return
        session = stream.session
        try:
            data: Any = await context.read()
            while data is not grpc.aio.EOF and data is not None:
                if session.over:  # we have said goodbye; wait until the client ends its side
                    data = await context.read()
                    continue
                answers = stream.answer(data)
                if (
                    session.joined
                    and stream.wire is not None
                    and len(answers) == 1
                    and not (session.over or stream.writing)
                ):
                    receive, exchange = stream.wire.exchange(codec.encode(answers[0]))
                    stream.joined = True
                    await exchange
                    stream.joined = False
                    data = receive.message()
                    continue
                if answers:
                    await stream.write(answers)
                if session.over and not session.parted:
                    break
                data = await context.read()
        except asyncio.CancelledError:
            if not stream.gave_up:
                raise
        except BatchError:
            pass  # the client has cancelled, or is gone
        finally:
            stream.close()
        code, details = status_of(session)
        if code is not grpc.StatusCode.OK:
            context.set_code(code)
            context.set_details(details)

    def _open(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> AioStream | None:
        held = self._held
        host, refusal = held.admit(context)
        if refusal is not None:
            context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
            context.set_details(refusal)
            return None
        shared = self._shared
        loop = asyncio.get_running_loop()
        if shared is None or shared.loop is not loop:
            shared = self._shared = Shared(held, loop, loop_ticks(loop))
        wire = joined(context, loop) if held.engine == "asyncio joined" else None
        stream = AioStream(shared, held.session(context, loop.time()), context, host, wire)
        if held.board.leaving is not None:  # whoever looked through the streams may have missed this one
            stream.part(held.board.leaving)
        return stream

    async def _ping(self, request: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        held = self._held
        return answer_ping(request, held.identity, held.condition(), held.spans)

    def _leave(self, reason: str) -> None:
        shared = self._shared
        if shared is not None and not shared.loop.is_closed():
            shared.loop.call_soon_threadsafe(_part, shared, reason)


def _part(shared: Shared, reason: str) -> None:
    for stream in tuple(shared.streams):
        stream.part(reason)
