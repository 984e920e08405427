"""The life of one beat as a table: Idle → Sending → Waiting → Idle, or Failed.

    Idle      no beat is in flight; one may be sent
    Sending   a beat was handed to the transport, which has not taken it yet
    Waiting   the transport took it; its echo is awaited
    Failed    the stream is given up; final

A pair that is absent from the table is an error of the driver, except for ``WRITTEN``: transports report it from another
thread, so it may come after the echo, after the time-out or after the end; the session drops it there.

The echo is accepted in Sending too: a peer's answer proves the write, whatever the transport has reported so far.
"""

from __future__ import annotations

import enum


class BeatState(enum.Enum):
    """Where the machine is."""

    __hash__ = object.__hash__  # an enumeration's own is a function in Python, and this is looked up for each beat

    IDLE = "idle"
    SENDING = "sending"
    WAITING = "waiting"
    FAILED = "failed"


class BeatInput(enum.Enum):
    """What moves it."""

    __hash__ = object.__hash__

    SEND = "send"
    WRITTEN = "written"
    ECHO = "echo"
    TIMEOUT = "timeout"
    GIVE_UP = "give up"


TRANSITIONS: dict[tuple[BeatState, BeatInput], BeatState] = {
    (BeatState.IDLE, BeatInput.SEND): BeatState.SENDING,
    (BeatState.SENDING, BeatInput.WRITTEN): BeatState.WAITING,
    (BeatState.SENDING, BeatInput.ECHO): BeatState.IDLE,
    (BeatState.WAITING, BeatInput.ECHO): BeatState.IDLE,
    (BeatState.SENDING, BeatInput.TIMEOUT): BeatState.IDLE,
    (BeatState.WAITING, BeatInput.TIMEOUT): BeatState.IDLE,
    (BeatState.IDLE, BeatInput.GIVE_UP): BeatState.FAILED,
    (BeatState.SENDING, BeatInput.GIVE_UP): BeatState.FAILED,
    (BeatState.WAITING, BeatInput.GIVE_UP): BeatState.FAILED,
}


class TransitionError(Exception):
    """A driver asked for what the state does not allow; a fault of ours, never of a peer."""


def advance(state: BeatState, step: BeatInput) -> BeatState:
    """Return the state after ``step``.

    Raises:
        TransitionError: the table has no such pair.
    """
    following = TRANSITIONS.get((state, step))
    if following is None:
        raise TransitionError(f"{step.name} is not possible in state {state.name}")
    return following
