"""One heartbeat stream on a synchronous channel, by grpc's public API.

Another engine can take its place: what ``SyncHeartbeat`` needs of a stream is ``run``, ``say_goodbye`` and ``cancel``.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import grpc

from grpc_heartbeat._timers import clock, timers
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.heartbeat import ClientSession
from grpc_heartbeat.core.heartbeat_events import FailureCause
from grpc_heartbeat.heartbeat import calls, codec
from grpc_heartbeat.heartbeat.outbox import Outbox
from grpc_heartbeat.telemetry.beats import ClientBeats


class SyncStream:
    """A session with its call, its alarm and the limit on its ending.

    Args:
        lock: Guards the session; nothing of grpc or of observers is called while it is held.
        record: Takes events of the session, with the lock held.
        deliver: Hands recorded events on, without the lock.
    """

    def __init__(
        self,
        session: ClientSession,
        beats: ClientBeats,
        *,
        lock: threading.Lock,
        record: Callable[[list[Event], ClientBeats], None],
        deliver: Callable[[], None],
    ) -> None:
        self._session = session
        self._beats = beats
        self._lock = lock
        self._record = record
        self._deliver = deliver
        self._outbox = Outbox(self._written)
        self._outbox.put(codec.encode(session.hello()))
        self._alarm = timers().alarm(self._wake)
        self._grace = timers().timeout(calls.GOODBYE_GRACE, self.cancel)
        self._call: Any = None
        self._cancelled = self._ending = False

    def run(self, open_stream: Any) -> None:
        """Open the stream and read it until it ends.

        Raises:
            ChannelClosedError: the channel was closed.
        """
        self._after()
        try:
            self._open(open_stream)
            for data in self._call:
                self._receive(data)
            self._end("the peer ended the stream")
        except grpc.RpcError as error:
            code, details = _status(error)
            self._end(calls.describe(code, details), calls.failure_cause(code, details))
        finally:
            self._end("the stream was left")  # tells nothing new if it is over, as it should be
            self._grace.cancel()

    def say_goodbye(self) -> None:
        """End the stream from our side, politely."""
        with self._lock:
            goodbye = None if self._session.over else self._session.close(clock())
        if goodbye is not None:
            self._outbox.put(codec.encode(goodbye))
            self._after()

    def cancel(self) -> None:
        """End the stream now."""
        self._cancelled = True
        call = self._call
        if call is not None:
            call.cancel()

    def _open(self, open_stream: Any) -> None:
        try:
            # An empty context: no deadline, cancel scope or span of whoever happens to run this.
            self._call = contextvars.Context().run(open_stream, self._outbox, timeout=None, wait_for_ready=False)
        except ValueError as error:
            self._end("the channel is closed")
            raise calls.ChannelClosedError(f"the channel is closed ({error})") from error
        if self._cancelled:
            self._call.cancel()

    def _receive(self, data: bytes) -> None:
        with self._lock:
            replies = self._session.receive(codec.decode(data), clock())
        for reply in replies:
            self._outbox.put(codec.encode(reply))
        self._after()

    def _written(self, sequence: int) -> None:
        with self._lock:
            self._session.written(sequence, clock())

    def _wake(self) -> None:
        now = max(clock(), self._alarm.when or 0.0)
        with self._lock:
            if self._session.over:
                return
            self._session.wake(now)
            due, failed = self._session.beat_due(now), self._session.over
        if due is not None:
            self._send_beat(due, now)
        self._after()
        if failed:
            self.cancel()

    def _send_beat(self, sequence: int, now: float) -> None:
        trace_context = self._beats.start(sequence)
        with self._lock:
            beat = self._session.send_beat(now, trace_context)
        if beat is None:
            self._beats.drop(sequence)
            return
        self._outbox.put(codec.encode(beat), beat.sequence)

    def _end(self, why: str, cause: FailureCause = "lost") -> None:
        with self._lock:
            self._session.stream_closed(clock(), why, cause)
        self._after()

    def _after(self) -> None:
        """Do what every change of the session asks for: set the alarm or end the sending, and tell of it."""
        with self._lock:
            wakeup = self._session.next_wakeup()
            if wakeup is not None:
                self._alarm.arm(wakeup)
            self._record(self._session.take_events(), self._beats)
        if wakeup is None and not self._ending:
            self._ending = True
            self._alarm.cancel()
            self._outbox.close()
            self._grace.arm(clock())
        self._deliver()


def _status(error: grpc.RpcError) -> tuple[grpc.StatusCode | None, str | None]:
    if isinstance(error, grpc.Call):
        return error.code(), error.details()
    return None, str(error)
