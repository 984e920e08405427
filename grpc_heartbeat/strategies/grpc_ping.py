"""``grpc``: the heartbeat of this library as single calls, ``grpc_heartbeat.v1.Heartbeat/Ping``.

What answers is the peer's application. One that does not know Ping is asked by ``grpc.health.v1.Health/Check``; and one that
has neither says UNIMPLEMENTED, by which its gRPC server answers. The beat carries the trace context, so that Ping has a span on
the other side, too. Proxies pass the calls on, so the whole way is proved.

For calls that you make yourself on a channel, its own ``heartbeat=`` says more: it watches the very connection.
"""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat.core.frames import Ack, Beat
from grpc_heartbeat.heartbeat import calls, codec
from grpc_heartbeat.heartbeat.health_stream import CHECK, status_of
from grpc_heartbeat.strategies.addresses import parse
from grpc_heartbeat.strategies.strategy import Lost, LostError

_LOST = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)
_ON_ITS_WAY = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING)


class GrpcPing:
    """Holds a channel of its own.

    Args:
        target: ``host:port`` or another name that gRPC knows, such as ``unix:/path``, without TLS; ``https://host:port`` with.
        roots: PEM certificates to trust. Default: those that gRPC ships.
        server_name: The name that the peer is asked for, and under TLS must prove. Default: the target's.

    Raises:
        ValueError: the target is none of those.
    """

    def __init__(self, target: str, *, roots: bytes | None = None, server_name: str | None = None) -> None:
        self._tls = "://" in target and target.startswith("http")
        self._target = target
        if self._tls:
            address = parse(target, {"https": 443})
            host = f"[{address.host}]" if ":" in address.host else address.host
            self._target = f"{host}:{address.port}"
        self._roots = roots
        self._options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
        if server_name is not None:
            self._options.append(("grpc.default_authority", server_name))
        self._channel: grpc.aio.Channel | None = None
        self._ask = self._ping

    async def start(self, lost: Lost) -> None:
        """Connect. gRPC connects anew by itself: a connection that ends between two probes is told by the next one."""
        self._channel = channel = self._open()
        state = channel.get_state(try_to_connect=True)
        while state in _ON_ITS_WAY:
            await channel.wait_for_state_change(state)
            state = channel.get_state(try_to_connect=True)
        if state is not grpc.ChannelConnectivity.READY:
            await self.probe(Beat(1))  # fails, and says why

    async def probe(self, beat: Beat) -> Ack | None:
        """Ask at the best level that the peer knows."""
        try:
            return await self._ask(beat)
        except grpc.aio.AioRpcError as error:
            code = error.code()
            if code is grpc.StatusCode.UNIMPLEMENTED and self._ask != self._check:
                self._ask = self._check
                return await self.probe(beat)
            if code in _LOST:
                raise LostError(calls.describe(code, error.details())) from error
        return Ack(beat.sequence)  # any other answer is the application's, or that of its gRPC server

    async def stop(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            await self._channel.close()

    def _open(self) -> grpc.aio.Channel:
        if self._tls:
            credentials = grpc.ssl_channel_credentials(root_certificates=self._roots)
            return grpc.aio.secure_channel(self._target, credentials, options=self._options)
        return grpc.aio.insecure_channel(self._target, options=self._options)

    async def _ping(self, beat: Beat) -> Ack:
        ack = codec.decode_ack(await self._call(calls.PING, codec.encode_beat(beat)))
        if ack is None or ack.sequence != beat.sequence:
            raise LostError("the peer answered a Ping with something else")
        return ack

    async def _check(self, beat: Beat) -> Ack:
        return Ack(beat.sequence, status_of(await self._call(CHECK, b"")))

    async def _call(self, method: str, request: bytes) -> bytes:
        channel: Any = self._channel
        answer: bytes = await channel.unary_unary(method)(request, wait_for_ready=False)
        return answer
