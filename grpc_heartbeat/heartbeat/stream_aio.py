"""One heartbeat stream on an asyncio channel, by grpc's public API.

Another engine can take its place: what ``AioHeartbeat`` needs of a stream is ``run``, ``say_goodbye`` and ``cancel``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.heartbeat import ClientSession
from grpc_heartbeat.core.heartbeat_events import FailureCause
from grpc_heartbeat.heartbeat import calls, codec
from grpc_heartbeat.heartbeat.outbox_aio import AioOutbox
from grpc_heartbeat.telemetry.beats import ClientBeats

_TASKS_COUNT_CANCELS = hasattr(asyncio.Task, "cancelling")


class AioStream:
    """A session with its call, its alarm and the limit on its ending; lives on the loop that made it.

    Args:
        publish: Takes events of the session and hands them on.
    """

    def __init__(
        self, session: ClientSession, beats: ClientBeats, *, publish: Callable[[list[Event], ClientBeats], None]
    ) -> None:
        timers = loop_timers()
        self._session = session
        self._beats = beats
        self._publish = publish
        self._now = asyncio.get_running_loop().time
        self._outbox = AioOutbox(lambda sequence: session.written(sequence, self._now()))
        self._outbox.put(codec.encode(session.hello()))
        self._alarm = timers.alarm(self._wake)
        self._grace = timers.timeout(calls.GOODBYE_GRACE, self.cancel)
        self._call: Any = None
        self._ending = False

    async def run(self, open_stream: Any) -> None:
        """Open the stream and read it until it ends.

        Raises:
            ChannelClosedError: the channel was closed.
        """
        self._after()
        try:
            self._open(open_stream)
            await self._read()
        finally:
            self._end("the stream was left")  # tells nothing new if it is over, as it should be
            self._grace.cancel()
            self.cancel()

    def say_goodbye(self) -> None:
        """End the stream from our side, politely."""
        if not self._session.over:
            self._outbox.put(codec.encode(self._session.close(self._now())))
            self._after()

    def cancel(self) -> None:
        """End the stream now."""
        if self._call is not None:
            self._call.cancel()

    def _open(self, open_stream: Any) -> None:
        try:
            self._call = open_stream(aiter(self._outbox), timeout=None, wait_for_ready=False)
        except Exception as error:  # UsageError has no public name; nothing else is raised here
            self._end("the channel is closed")
            raise calls.ChannelClosedError(f"the channel is closed ({error})") from error

    async def _read(self) -> None:
        try:
            while (data := await _read(self._call)) is not grpc.aio.EOF:
                self._receive(data)
            self._end("the peer ended the stream")
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details()
            self._end(calls.describe(code, details), calls.failure_cause(code, details))
        except _CallCancelledError:
            self._end("the call was cancelled", "unclear")

    def _receive(self, data: bytes) -> None:
        for reply in self._session.receive(codec.decode(data), self._now()):
            self._outbox.put(codec.encode(reply))
        self._after()

    def _wake(self) -> None:
        session = self._session
        if session.over:
            return
        now = max(self._now(), self._alarm.when or 0.0)
        session.wake(now)
        due = session.beat_due(now)
        if due is not None:
            self._send_beat(due, now)
        self._after()
        if session.over:
            self.cancel()

    def _send_beat(self, sequence: int, now: float) -> None:
        beat = self._session.send_beat(now, self._beats.start(sequence))
        if beat is None:
            self._beats.drop(sequence)
        else:
            self._outbox.put(codec.encode(beat), beat.sequence)

    def _end(self, why: str, cause: FailureCause = "lost") -> None:
        self._session.stream_closed(self._now(), why, cause)
        self._after()

    def _after(self) -> None:
        """Do what every change of the session asks for: set the alarm or end the sending, and tell of it."""
        wakeup = self._session.next_wakeup()
        if wakeup is not None:
            self._alarm.arm(wakeup)
        elif not self._ending:
            self._ending = True
            self._alarm.cancel()
            self._outbox.close()
            self._grace.arm(self._now())
        self._publish(self._session.take_events(), self._beats)


class _CallCancelledError(Exception):
    """The call was cancelled, by us or by the closing of its channel."""


async def _read(call: Any) -> Any:
    """Read a message. A cancelled call and a cancelled task both raise ``CancelledError`` in grpc.aio; tell them apart.

    Python 3.11 counts the requests to cancel a task. Before that the reading gets a task of its own, which is dearer.
    """
    if _TASKS_COUNT_CANCELS:
        try:
            return await call.read()
        except asyncio.CancelledError:
            task: Any = asyncio.current_task()
            if not call.done() or task.cancelling():
                raise
            raise _CallCancelledError from None
    reading = asyncio.ensure_future(call.read())
    try:
        await asyncio.wait((reading,))
    except asyncio.CancelledError:
        reading.cancel()
        raise
    if reading.cancelled():
        raise _CallCancelledError
    return reading.result()
