"""Heartbeats as they are written today: a thread or task per stream, a sleep between beats, a timer or ``wait_for`` per beat.

Generated stubs and messages, public API, nothing clever and nothing stupid: one file to show what the other design is measured
against. A stream whose time-out passes is ended, a client's is opened anew.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat.v1 import heartbeat_pb2 as pb
from grpc_heartbeat.v1 import heartbeat_pb2_grpc as pb_grpc

PATIENCE = 30.0
"""Seconds of silence after which either side gives a stream up."""


def answer(frame: pb.Frame) -> pb.Frame:
    """Return the ack of a beat."""
    return pb.Frame(ack=pb.Ack(sequence=frame.beat.sequence, serving_status=pb.SERVING_STATUS_SERVING))


def beat(sequence: int) -> pb.Frame:
    """Return a beat."""
    return pb.Frame(beat=pb.Beat(sequence=sequence, type=pb.BEAT_TYPE_LIVENESS, next_within_millis=60_000))


class Servicer(pb_grpc.HeartbeatServicer):
    """A thread per stream, and a timer per beat."""

    def Keepalive(self, request_iterator: Iterator[pb.Frame], context: grpc.ServicerContext) -> Iterator[pb.Frame]:
        timer = _timer(context.cancel)
        try:
            for frame in request_iterator:
                if frame.WhichOneof("kind") == "beat":
                    timer.cancel()
                    timer = _timer(context.cancel)
                    yield answer(frame)
        finally:
            timer.cancel()

    def Ping(self, request: pb.Beat, context: grpc.ServicerContext) -> pb.Ack:
        return answer(pb.Frame(beat=request)).ack


class AioServicer(pb_grpc.HeartbeatServicer):
    """A task per stream, and a ``wait_for`` per beat."""

    async def Keepalive(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        while True:
            frame = await asyncio.wait_for(context.read(), PATIENCE)
            if frame is grpc.aio.EOF:
                return
            if frame.WhichOneof("kind") == "beat":
                await context.write(answer(frame))

    async def Ping(self, request: pb.Beat, context: Any) -> pb.Ack:
        return answer(pb.Frame(beat=request)).ack


class Holder:
    """A client's stream: a thread that reads, one of grpc's that sleeps and writes, and a timer per beat."""

    def __init__(self, channel: grpc.Channel, interval: float) -> None:
        self._stub = pb_grpc.HeartbeatStub(channel)
        self._interval = interval
        self._echoed: SimpleQueue[bool] = SimpleQueue()
        self.opened = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            call = self._stub.Keepalive(self._beats())
            try:
                self._read(call)
            except grpc.RpcError:
                time.sleep(1)

    def _read(self, call: Any) -> None:
        timer = _timer(call.cancel)
        for frame in call:
            if frame.WhichOneof("kind") == "ack":
                timer.cancel()
                timer = _timer(call.cancel)
                self.opened.set()
                self._echoed.put(True)

    def _beats(self) -> Iterator[pb.Frame]:
        sequence = 0
        while True:
            sequence += 1
            yield beat(sequence)
            self._echoed.get()
            time.sleep(self._interval)


class AioHolder:
    """A client's stream: a task that sleeps, writes and waits."""

    def __init__(self, channel: grpc.aio.Channel, interval: float) -> None:
        self._stub: Any = pb_grpc.HeartbeatStub(channel)
        self._interval = interval
        self.opened = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                await self._hold(self._stub.Keepalive())
            except (grpc.aio.AioRpcError, asyncio.TimeoutError):
                await asyncio.sleep(1)

    async def _hold(self, call: Any) -> None:
        sequence = 0
        while True:
            sequence += 1
            await call.write(beat(sequence))
            await asyncio.wait_for(_ack(call), PATIENCE)
            self.opened.set()
            await asyncio.sleep(self._interval)


async def _ack(call: Any) -> None:
    while (await call.read()).WhichOneof("kind") != "ack":
        pass


def _timer(end: Any) -> threading.Timer:
    timer = threading.Timer(PATIENCE, end)
    timer.daemon = True
    timer.start()
    return timer
