"""A client of the Keepalive method that says what a test wants, and reads when it wants."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import grpc

from grpc_heartbeat.core.frames import Beat, Frame, Hello
from grpc_heartbeat.heartbeat import calls, codec
from tests.heartbeat.ends import CLIENT
from tests.peers import PATIENCE


class RawClient:
    """One stream on a connection of its own. Requests are sent as soon as they are put; answers wait until they are read."""

    def __init__(self, target: str, options: Any = (), metadata: Any = None) -> None:
        self.channel = grpc.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1), *options])
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        method: Any = self.channel.stream_stream(calls.KEEPALIVE)
        self.call = method(iter(self._requests.get, None), timeout=3 * PATIENCE, metadata=metadata)

    def put(self, *frames: Frame | bytes) -> None:
        for frame in frames:
            self._requests.put(frame if isinstance(frame, bytes) else codec.encode(frame))

    def greet(self) -> None:
        """Say hello, and hear the answer."""
        self.put(Hello(CLIENT))
        assert isinstance(self.frame(), Hello)

    def beat(self, sequence: int, next_within: float = 0.0) -> Frame | None:
        """Send a beat; return what comes next."""
        self.put(Beat(sequence, next_within=next_within))
        return self.frame()

    def frame(self) -> Frame | None:
        return codec.decode(next(self.call))

    def rest(self) -> Iterator[Frame | None]:
        """Yield the frames up to the end of the stream, however it ends."""
        try:
            for data in self.call:
                yield codec.decode(data)
        except grpc.RpcError:
            pass

    def end(self) -> tuple[grpc.StatusCode, str]:
        """Read to the end; return how it ended."""
        for _ in self.rest():
            pass
        return self.call.code(), self.call.details()

    def close(self) -> None:
        self._requests.put(None)
        self.call.cancel()
        self.channel.close()
