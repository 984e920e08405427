"""What the connection of one asyncio channel is doing, for the calls that wait for it.

Theory of operation. A call on a channel that is READY costs one look at its state. While calls wait for a connection, one timer
for all of them looks again every few milliseconds; it ends with the last of them. (Waiting for a change of state by grpc.aio's
``wait_for_state_change`` would be a task, and when it is given up, gRPC's core goes on watching until the state changes: on a
channel without a connection, every call that ends would leave one such watch behind.)

Why a connection cannot be made is known to gRPC alone, and it tells failed calls only. So it is asked by a call that may not
wait: on a channel in TRANSIENT_FAILURE that one fails at once, on this machine, with the last error. One such question is
asked at a time, whoever wants to know.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import grpc
import grpc.aio

from grpc_heartbeat import _faults
from grpc_heartbeat._grpcio_at_once import state_reader
from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat.channel.connection import tell_connected
from grpc_heartbeat.core.timers import Alarm

_READY = grpc.ChannelConnectivity.READY.value[0]
LOOK_EVERY = 0.005
"""Seconds between two looks at a channel that calls wait for."""

_QUESTION = "/grpc.health.v1.Health/Check"
"""Asked only when there is no connection; if there is one by then, a method that servers know and that changes nothing."""
_QUESTION_SECONDS = 0.02
_LAST_ERROR = "last error: "

Answer = Callable[[str | None], None]


class Waiting(Protocol):
    """A call that waits for a connection. Compared and hashed by identity."""

    def connected(self) -> None:
        """The channel has a connection. Called once, on the loop's thread."""


class Connection:
    """The connection of ``channel``. To be used on the loop's thread, ``leave`` from any.

    Attributes:
        last_error: What the last attempt to connect that we heard of failed with.
    """

    last_error: str | None = None

    name = ""
    """The channel's name in telemetry."""

    made: weakref.WeakMethod[Callable[[], None]] | None = None
    """Called when a connection was made for which calls waited."""

    loop: asyncio.AbstractEventLoop | None = None
    """The loop of the channel's calls, once one was made."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._read = state_reader(channel)
        self._waiting: set[Waiting] = set()
        self._waited = 0
        self._asking: list[Answer] = []
        self._question: asyncio.Task[None] | None = None
        self._timer: Alarm | None = None

    def ready(self) -> bool:
        """Tell whether the channel has a connection."""
        if self._read is None:
            return self._channel.get_state() is grpc.ChannelConnectivity.READY
        return self._read(False) == _READY

    def state(self) -> str | None:
        """Return the channel's state, such as ``"READY"``."""
        return self._channel.get_state().name

    def wait(self, call: Waiting, loop: asyncio.AbstractEventLoop) -> None:
        """Tell ``call`` when the channel has a connection, until it is told or ``leave`` is called."""
        self._waited += 1
        first = not self._waiting
        self._waiting.add(call)
        if first:
            if self._timer is None:
                self._timer = loop_timers(loop).alarm(self._look)
            self._timer.arm(loop.time() + LOOK_EVERY)

    def waited(self) -> int:
        """Return how many calls have found no connection so far: one that stood before has been lost since."""
        return self._waited

    def leave(self, call: Waiting) -> None:
        """Forget ``call``. It may be over because it was quick: ``made`` is to hear of the connection all the same."""
        self._waiting.discard(call)
        if not self._waiting and self._timer is not None and self.made is None:
            self._timer.cancel()

    def describe(self) -> str:
        """Return what the timer is for."""
        return f"{len(self._waiting)} calls wait for a connection"

    def _look(self) -> None:
        if self._timer is None:
            return
        if not self.ready():
            if self._waiting:
                self._timer.arm(asyncio.get_running_loop().time() + LOOK_EVERY)
            return
        told, self._waiting = self._waiting, set()
        tell_connected(told, self.made)

    def remember(self, details: str) -> None:
        """Take note of the details of a call that was UNAVAILABLE, if they say why there is no connection."""
        if _LAST_ERROR in details:
            self.last_error = details.partition(_LAST_ERROR)[2]

    def ask(self, answer: Answer) -> None:
        """Call ``answer`` once with the error of the last attempt to connect, or with ``None`` if none is known.

        The answer comes at once or within milliseconds, on the loop's thread.
        """
        if self._channel.get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            answer(self.last_error)
            return
        self._asking.append(answer)
        if self._question is None:
            # In an empty context: it is no request's, and no span's.
            self._question = contextvars.Context().run(asyncio.get_running_loop().create_task, self._ask())

    async def _ask(self) -> None:
        try:
            question: Any = self._channel.unary_unary(_QUESTION)
            call = question(b"", timeout=_QUESTION_SECONDS, wait_for_ready=False)
            code = await call.code()
            if code is grpc.StatusCode.UNAVAILABLE:
                details = await call.details() or ""
                self.last_error = details.partition(_LAST_ERROR)[2] or details
        except Exception as error:  # a closed channel, an interceptor of the application's
            self.last_error = self.last_error or str(error)
        finally:
            self._question = None
            answers, self._asking = self._asking, []
            for answer in answers:
                try:
                    answer(self.last_error)
                except Exception as error:
                    _faults.record("channel.last_error_aio", error)


class UnknownConnection(Connection):
    """The connection under client interceptors that were given to somebody else's channel: it is taken for granted."""

    def __init__(self) -> None:
        """Make one for all."""

    def ready(self) -> bool:
        return True

    def state(self) -> str | None:
        return None

    def remember(self, details: str) -> None:
        """Learn nothing: these may be errors of any channel."""


UNKNOWN = UnknownConnection()
