"""One end of a stream on an event loop that sends its own beats, beside what the application writes.

gRPC takes one message at a time. So a beat is written in a task of its own, only while the application writes nothing
(``sending``), and the application's next message waits until the beat was taken (``settle``). That task is never cancelled:
grpc.aio would cancel the whole call with it.
"""

from __future__ import annotations

import asyncio
import contextvars
from time import monotonic
from typing import Any

from grpc_heartbeat import _faults
from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat.inband.end import End


class LoopEnd(End):
    """One end on the running loop.

    Attributes:
        sending: Whether the application is writing something.
        task: The writing of a beat that is under way.
    """

    sending = False
    task: asyncio.Task[None] | None = None

    def __init__(self, interval: float, echoes: bool) -> None:
        super().__init__(interval, echoes)
        self.loop = asyncio.get_running_loop()
        self._alarm = loop_timers(self.loop).alarm(self._wake)
        self.poke = self._wake

    def start(self, after: float) -> None:
        """Look after ``after`` seconds for the first time."""
        self._alarm.arm(self.loop.time() + after)

    def stop(self) -> None:
        """Send nothing any more. Idempotent."""
        self.sends = False
        self._alarm.cancel()

    def describe(self) -> str:
        """Return what the alarm is for."""
        return f"in-band keepalive after {self.interval:g} s"

    async def settle(self) -> None:
        """Return when no beat is under way."""
        while self.task is not None:
            await asyncio.wait({self.task})

    async def write(self, data: bytes) -> None:
        """Send the beat ``data``."""
        raise NotImplementedError

    def _wake(self) -> None:
        if not self.sends:
            return
        now = monotonic()
        if self.sending or self.task is not None:
            self.start(self.interval)  # the stream is not quiet
            return
        data = self.due(now)
        if data is not None:
            self.run(self._beat(data))
        wakeup = self.wakeup(now)
        if wakeup is not None:
            self.start(max(wakeup - now, 0.0))

    def run(self, writing: Any) -> None:
        """Run ``writing``, a coroutine that writes, in the task."""
        self.task = contextvars.Context().run(self.loop.create_task, writing)

    async def _beat(self, data: bytes) -> None:
        try:
            await self.write(data)
            self.pulse.beat_taken()
        except Exception:  # the call is over, and says so to the application
            self.stop()
        finally:
            self.task = None
        try:
            self._wake()  # another may be owed by now
        except Exception as error:
            _faults.record("inband.wake", error)
