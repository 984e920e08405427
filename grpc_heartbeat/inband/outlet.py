"""Puts beats between the messages of an iterator that gRPC sends, by public API alone.

gRPC asks the iterator for a message, sends it and asks again. The application's iterator may block as long as it likes, so a
second thread asks that, when gRPC has asked and not before: as many messages are under way as without us. Meanwhile gRPC's
thread waits here, and gets a beat when one is due.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

from grpc_heartbeat import _faults
from grpc_heartbeat.inband.end import End
from grpc_heartbeat.inband.messages import Outbound

_NOTHING: Any = object()


class Pump(Iterator[Any]):
    """The messages of ``messages``, and beats.

    Args:
        messages: The application's iterator.
        end: The end that sends them.
        run: Calls a function in the context in which the application's code is to run.
        before: Called before the first message is handed out.
    """

    def __init__(
        self,
        messages: Any,
        end: End,
        run: Callable[..., Any] | None = None,
        before: Callable[[], object] | None = None,
    ) -> None:
        self._messages = messages
        self._end = end
        self._run = run
        self._before = before
        self._changed = threading.Condition()
        self._wanted = False
        self._message: Any = _NOTHING
        self._error: BaseException | None = None
        self._stopped = False
        self._thread: threading.Thread | None = None
        end.poke = self._poke

    def __next__(self) -> Any:
        message = self._take()
        before, self._before = self._before, None
        if before is not None:
            before()
        return message

    def _take(self) -> Any:
        """Return what is to be sent next, as soon as there is something."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._ask, name="grpc-heartbeat-messages", daemon=True)
                self._thread.start()
            if not self._wanted:
                self._wanted = True
                self._changed.notify_all()
            while not self._stopped:
                if self._message is not _NOTHING:
                    message, self._message = self._message, _NOTHING
                    self._wanted = False
                    self._end.sent()
                    return message
                if self._error is not None:
                    self._end.sends = False
                    raise self._error
                beat, wait = self._beat()
                if beat is not None:
                    return Outbound(beat)
                self._changed.wait(wait)
            raise StopIteration

    def stop(self) -> None:
        """Hand out nothing any more: the call is over. Idempotent."""
        with self._changed:
            self._stopped = True
            self._end.sends = False
            self._changed.notify_all()

    def _beat(self) -> tuple[bytes | None, float | None]:
        """Return the beat to be sent now, if any, and the seconds after which to ask again."""
        try:
            now = monotonic()
            beat = self._end.due(now)
            if beat is not None:
                self._end.pulse.beat_taken()
                return beat, None
            wakeup = self._end.wakeup(now)
            return None, None if wakeup is None else max(wakeup - now, 0.001)
        except Exception as error:
            _faults.record("inband.pump", error)
            return None, None

    def _poke(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _ask(self) -> None:
        """Ask the application for message after message, each when it is wanted."""
        run = self._run
        messages: Any = self._messages
        try:
            iterator = iter(messages) if run is None else run(iter, messages)
            while self._is_wanted():
                message = next(iterator) if run is None else run(next, iterator)
                with self._changed:
                    self._message = message
                    self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()
        finally:
            self._messages = iterator = messages = None

    def _is_wanted(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or (self._wanted and self._message is _NOTHING))
            return not self._stopped
