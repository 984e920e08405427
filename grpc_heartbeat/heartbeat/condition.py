"""How a server is, for its acks: its status on the health board, its load, its advice to its clients.

Putting it together costs more than the rest of an answer, so it is done ten times a second, or fifty while work waits for a
worker, and when the board changes; in between every ack gets the same object, whose bytes the codec remembers, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Literal

from grpc_heartbeat import _faults
from grpc_heartbeat._timers import clock
from grpc_heartbeat.config import check_seconds
from grpc_heartbeat.core.frames import Ack, Load
from grpc_heartbeat.core.health_board import WHOLE
from grpc_heartbeat.core.heartbeat_server import Condition
from grpc_heartbeat.core.load import CACHED
from grpc_heartbeat.core.steering import Steering
from grpc_heartbeat.health import HealthBoard
from grpc_heartbeat.heartbeat import messages
from grpc_heartbeat.heartbeat.load import LoadMeter


class Conditions:
    """The condition of one server. Calling it returns the present one.

    Args:
        board: Whose status it is.
        load: Says how busy the process is; must be quick. Default: nothing is said.
        steering: What it makes of that.
        freshness: Returns the seconds for which a load that is asked for now serves all acks. Default: :data:`CACHED`.
    """

    def __init__(
        self,
        board: HealthBoard,
        load: Callable[[], Load] | None,
        steering: Steering,
        freshness: Callable[[], float] = lambda: CACHED,
    ) -> None:
        self._board = board
        self._measure = load
        self._steering = steering
        self._freshness = freshness
        self._load: Load | None = None
        self._fresh_until = -1.0
        self._known: Condition | None = None
        self._changes = 0
        self._reading = threading.Lock()
        self._joining = threading.RLock()  # a signal handler may drain the board on the thread that holds it
        board.listen(self._changed)
        board.on_leave(lambda _: self._forget())

    def __call__(self) -> Condition:
        known = self._known
        if known is not None and clock() < self._fresh_until:
            return known
        if clock() >= self._fresh_until and self._reading.acquire(blocking=False):  # else another thread does it
            try:
                self._read()
            finally:
                self._reading.release()
        with self._joining:
            changes, board, advice = self._changes, self._board, self._steering.advice
            known = Condition(board.status(), self._load, board.leaving, advice)
            if changes == self._changes:  # else a signal handler changed the board just now
                self._known = known
        return known

    def _read(self) -> None:
        if self._measure is not None:
            try:
                self._load = self._measure()
                self._steering.read(self._load, clock())
            except Exception as error:
                self._load = None
                _faults.record("heartbeat.load", error)
        self._fresh_until = clock() + self._freshness()

    def _changed(self, service: str, _: object) -> None:
        if service == WHOLE:
            self._forget()

    def _forget(self) -> None:
        with self._joining:
            self._changes += 1
            self._known = None


def conditions(
    board: HealthBoard,
    load: Callable[[], Load] | Literal["measured"] | None,
    meter: Callable[[], LoadMeter],
    advised_interval: float,
    max_advised_interval: float,
) -> Conditions:
    """Return the conditions of a server that was told so; ``meter`` makes what measures its load, until the board is closed."""
    steering = Steering(advised_interval, max_advised_interval)
    if load is None:
        return Conditions(board, None, steering)
    if load != "measured":
        return Conditions(board, partial(_sendable, load), steering)
    measured = meter()
    board.on_close(measured.close)
    return Conditions(board, measured, steering, measured.freshness)


def _sendable(measure: Callable[[], Load]) -> Load:
    """Return what ``measure`` does; what cannot be sent, such as NaN, raises here and not in each answer."""
    load = measure()
    messages.ack_message(Ack(0, load=load))
    return load


def check_load(max_advised_interval: object, load: object, workers: object) -> None:
    """Check what both ``add_to_server`` take.

    Raises:
        TypeError, ValueError: the message names the argument.
    """
    check_seconds("max_advised_interval", max_advised_interval, inclusive=True)
    if not (load is None or load == "measured" or callable(load)):
        raise TypeError(f"load must be a function, 'measured' or None; got {load!r}")
    if not (workers is None or isinstance(workers, Executor)):
        raise TypeError(f"workers must be a concurrent.futures.Executor or None, not {type(workers).__name__}")
