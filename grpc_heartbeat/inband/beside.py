"""Sends beats beside an iterator that gRPC sends the messages of, with no thread in between.

``_grpcio_beside`` has what that takes. gRPC takes one message at a time, so the two sides keep out of each other's way. From
when a message is handed to gRPC until it asks for the next one, ``sending`` is set. While a beat is under way, ``flying`` is.
Each side sets its own mark first and looks at the other's afterwards, so that one of them always sees the other: a beat then
gives way, a message waits until the beat was taken. A message on a stream without beats costs two stores, two tests and one
look at the clock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from grpc_heartbeat import _faults
from grpc_heartbeat._grpcio_beside import Send
from grpc_heartbeat._timers import clock, timers
from grpc_heartbeat.inband.end import End


class Beside(Iterator[Any]):
    """The messages of ``messages``; beats go beside them.

    Args:
        messages: The application's iterator.
        end: The end that sends them.
        before: Called before the first of all messages and beats.
    """

    sending = False
    flying = False
    _hurried = False
    _send: Send | None = None

    def __init__(self, messages: Any, end: End, before: Callable[[], object] | None = None) -> None:
        self._messages = messages
        self._end = end
        self._before = before
        self._changed = threading.Condition(threading.Lock())
        self._one_at_a_time = threading.Lock()
        self._alarm = timers().alarm(self._wake)
        end.poke = self._poke

    def begin(self, send: Send | None, after: float) -> None:
        """Send beats by ``send``; look after ``after`` seconds for the first time."""
        self._send = send
        if send is not None and self._end.sends:
            self._alarm.arm(clock() + after)

    def __next__(self) -> Any:
        self.sending = False
        if self._hurried:
            self._wake()
        end = self._end
        try:
            message = next(self._messages)
        except BaseException:
            self.sending = True  # what comes now is the end of the stream
            self.stop()
            self._land()
            raise
        self.sending = True
        if self.flying:
            self._land()
        if self._before is not None:
            self._first()
        end.sent()
        return message

    def stop(self) -> None:
        """Send nothing any more. Idempotent."""
        self._end.sends = False
        self._send = None
        self._alarm.cancel()

    def describe(self) -> str:
        """Return what the alarm is for."""
        return f"in-band keepalive after {self._end.interval:g} s"

    def _first(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            before()

    def _land(self) -> None:
        """Return when no beat is under way."""
        with self._changed:
            self._changed.wait_for(lambda: not self.flying)

    def _landed(self) -> None:
        """The beat was taken. Called by a thread of gRPC's."""
        try:
            self._end.pulse.beat_taken()
            self._over()
            if self._hurried and self._send is not None:
                self._alarm.arm(clock())
        except Exception as error:
            _faults.record("inband.landed", error)

    def _over(self) -> None:
        with self._changed:
            self.flying = False
            self._changed.notify_all()

    def _poke(self) -> None:
        self._hurried = True
        self._wake()

    def _wake(self) -> None:
        """Send a beat if one is due. From any thread."""
        send, end = self._send, self._end
        if send is None or not self._one_at_a_time.acquire(blocking=False):
            return
        try:
            now = clock()
            if self.flying or self.sending:
                self._alarm.arm(now + end.interval)  # the stream is not quiet
                return
            self._hurried = False
            self.flying = True
            data = None if self.sending else end.due(now)
            if data is None:
                self._over()
            else:
                self._fly(send, data)
            wakeup = end.wakeup(now)
            if wakeup is not None and self._send is not None:
                self._alarm.arm(max(wakeup, now))
        except Exception as error:
            self._over()
            _faults.record("inband.wake", error)
        finally:
            self._one_at_a_time.release()

    def _fly(self, send: Send, data: bytes) -> None:
        self._first()
        if not send(data, self._landed):
            self._over()
