"""What the connection of one sync channel is doing, for the calls that wait for it.

Theory of operation. A call on a channel that is READY costs one look at its state. While calls wait for a connection, one timer
for all of them looks again, every 5 ms at first and then less often; it ends with the last of them. Where the state cannot be
looked at (``_grpcio_at_once.state_reader``), the channel is watched in that time (``grpc.Channel.subscribe``), by a thread.

Why a connection cannot be made is known to gRPC alone, and it tells failed calls only. So it is asked by a call that may not
wait: on a channel in TRANSIENT_FAILURE that one fails at once, on this machine, with the last error. One such question is
asked at a time, whoever wants to know. Errors of the application's calls that say it are remembered, too.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._grpcio_at_once import plain_channel, state_reader
from grpc_heartbeat._timers import clock, timers

READY = grpc.ChannelConnectivity.READY.value[0]
_NAMES = {state.value[0]: state.name for state in grpc.ChannelConnectivity}
_QUESTION = "/grpc.health.v1.Health/Check"
"""Asked only when there is no connection; if there is one by then, a method that servers know and that changes nothing."""
_QUESTION_SECONDS = 0.02
_LAST_ERROR = "last error: "

_LOOK_EVERY = 0.005
_LOOK_SELDOM = 0.1
_SLOWER = 0.02
"""Seconds between two looks: this part of the time that was waited, between the two bounds."""

WATCH_ENDS = 0.25
"""Seconds after which grpcio's watching thread has noticed that nobody listens. Closing the channel sooner makes it fail."""

Answer = Callable[[str | None], None]


class Waiting(Protocol):
    """A call that waits for a connection. Compared and hashed by identity."""

    def connected(self) -> None:
        """The channel has a connection. Called once, from any thread."""


def tell_connected(calls: Iterable[Waiting], made: weakref.WeakMethod[Callable[[], None]] | None) -> None:
    """Tell those that waited for a connection, and the heartbeat of the channel, that there is one."""
    heed = None if made is None else made()
    for hear in (*(call.connected for call in calls), *(() if heed is None else (heed,))):
        try:
            hear()
        except Exception as error:
            _faults.record("channel.connected", error)


class _Connection:
    name = ""
    """The channel's name in telemetry."""

    def __init__(self, channel: Any) -> None:
        self._read = state_reader(channel)
        self._seen: grpc.ChannelConnectivity | None = None
        self.closed = False
        self.last_error: str | None = None
        """What the last attempt to connect that we heard of failed with."""

    def state(self) -> str | None:
        """Return the channel's state, such as ``"READY"``, if it is known."""
        if self._read is None:
            return None if self._seen is None else self._seen.name
        try:
            return _NAMES.get(self._read(False))
        except ValueError:
            return grpc.ChannelConnectivity.SHUTDOWN.name

    def ready(self) -> bool:
        """Tell whether the channel has a connection; False if that is not known. A closed channel's calls end by themselves."""
        if self._read is None:
            return self.closed
        try:
            return self._read(False) == READY
        except ValueError:  # closed
            return True

    def rests(self) -> bool:
        """Tell whether the channel can be looked at and is IDLE."""
        return self._read is not None and self.state() == grpc.ChannelConnectivity.IDLE.name

    def remember(self, details: str | None) -> None:
        """Take note of the details of a call that was UNAVAILABLE, if they say why there is no connection."""
        if details and _LAST_ERROR in details:
            self.last_error = details.partition(_LAST_ERROR)[2]


class Connection(_Connection):
    """The connection of ``channel``."""

    poll = None

    def __init__(self, channel: Any) -> None:
        super().__init__(channel)
        self._channel = channel
        self._lock = threading.RLock()
        """Reentrant: a call that the garbage collector finds while it is held is forgotten there and then."""
        self.made: weakref.WeakMethod[Callable[[], None]] | None = None
        """Called when a connection was made for which calls waited."""
        self._waiting: set[Waiting] = set()
        self._waited = 0
        self._asking: list[Answer] = []
        self._timer = timers().alarm(self._look)
        self._since = 0.0
        self._watch_ended: float | None = None

    def wait(self, call: Waiting) -> None:
        """Tell ``call`` when the channel has a connection, until it is told or ``leave`` is called."""
        with self._lock:
            self._waited += self._read is not None
            self._waiting.add(call)
            if len(self._waiting) > 1:
                return
            if self._read is None:
                self._seen = None
                self._channel.subscribe(self._changed)
            else:
                self._since = now = clock()
                self._timer.arm(now + _LOOK_EVERY)

    def waited(self) -> int:
        """Return how many calls have found no connection so far: one that stood before has been lost since.

        Always 0 where the channel's state cannot be looked at.
        """
        return self._waited

    def leave(self, call: Waiting) -> None:
        """Forget ``call``."""
        with self._lock:
            if call not in self._waiting:
                return
            self._waiting.discard(call)
            if self._waiting:
                return
            self._stop()
        if self.made is not None and self.ready():  # so soon that the call has ended before anybody looked
            tell_connected((), self.made)

    def close(self) -> None:
        """Stop to watch. Call this before the channel is closed."""
        self.closed = True
        with self._lock:
            if self._waiting:
                self._waiting.clear()
                self._stop()
        if self._watch_ended is not None:
            threading.Event().wait(max(0.0, self._watch_ended + WATCH_ENDS - clock()))

    def _stop(self) -> None:
        if self._read is None:
            self._channel.unsubscribe(self._changed)
            self._watch_ended = clock()
        else:
            self._timer.cancel()

    def _look(self) -> None:
        if self.ready():
            self._changed(grpc.ChannelConnectivity.READY)
            return
        with self._lock:
            if self._waiting:
                now = clock()
                self._timer.arm(now + min(max(_LOOK_EVERY, (now - self._since) * _SLOWER), _LOOK_SELDOM))

    def _changed(self, state: grpc.ChannelConnectivity) -> None:
        with self._lock:
            self._seen = state
            if state is not grpc.ChannelConnectivity.READY or not self._waiting:
                return
            told = self._waiting
            self._waiting = set()
            self._stop()
        tell_connected(told, self.made)

    def ask(self, answer: Answer) -> None:
        """Call ``answer`` once with the error of the last attempt to connect, or with ``None`` if there is none to be had.

        Returns at once; the answer comes from another thread within milliseconds, or from this one.
        """
        with self._lock:
            self._asking.append(answer)
            if len(self._asking) > 1:
                return
        try:
            # Not through interceptors: it is no call of the application's.
            question: Any = plain_channel(self._channel).unary_unary(_QUESTION)
            question.future(b"", timeout=_QUESTION_SECONDS).add_done_callback(self._answered)
        except Exception:  # a closed channel, or one that is not grpcio's
            self._answer()

    def _answered(self, call: Any) -> None:
        try:
            if call.code() is grpc.StatusCode.UNAVAILABLE:
                details = call.details() or ""
                self.last_error = details.partition(_LAST_ERROR)[2] or details
            elif call.code() not in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
                self.last_error = None
                self._changed(grpc.ChannelConnectivity.READY)
        except Exception as error:
            _faults.record("channel.last_error", error)
        self._answer()

    def _answer(self) -> None:
        with self._lock:
            answers = self._asking
            self._asking = []
        for answer in answers:
            try:
                answer(self.last_error)
            except Exception as error:
                _faults.record("channel.last_error", error)


class UnwatchedConnection(_Connection):
    """The connection under a client interceptor, which has no channel (but its multicallable): it can be looked at, at best."""

    poll = 0.05

    def __init__(self, multicallable: Any) -> None:
        super().__init__(multicallable)
        self.closed = self._read is None  # where nothing can be seen, a connection is taken for granted

    def wait(self, call: Waiting) -> None:
        """Do nothing: the call looks by itself."""

    def leave(self, call: Waiting) -> None:
        """Do nothing."""

    def ask(self, answer: Answer) -> None:
        """Say what is known."""
        answer(self.last_error)


NOWHERE = UnwatchedConnection(None)
"""The connection of which nothing is known."""
