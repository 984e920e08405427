"""Calls that were dropped without an end: who made them, said once per place. Off unless asked for.

A driver that cancels an abandoned call says so here::

    made_at = _abandoned.place() if _abandoned.enabled else None    # when the call is made
    _abandoned.watch(call, method, made_at)                         # optional: ``debug.calls()`` then lists it
    ...
    _abandoned.warn(made_at, method)                                # when it was found abandoned

``place`` walks the stack and is the only thing that costs, so it is asked for only while ``enabled`` is true. ``warn`` may be
called from a finaliser in any thread: it takes no lock, and shows one ``ResourceWarning`` per place, at the line that made
the call.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import grpc

MOST_PLACES = 1000
"""Places that are warned about; a program that abandons calls at more places has been told."""

enabled = False
"""Whether the makers of calls are remembered; changed by :func:`switch` only."""

_LIBRARIES = tuple(str(Path(file).parent) + os.sep for file in (__file__, grpc.__file__))
_warned: dict[str, object] = {}


class Watched(NamedTuple):
    """A call that is being watched."""

    call: object
    method: str
    place: str | None
    since: float


_watched: dict[int, tuple[weakref.ref[object], str, str | None, float]] = {}


def switch(on: bool) -> None:
    """Start or stop to remember who makes calls. Starting forgets which places were warned about."""
    global enabled
    enabled = on
    if not on:
        _watched.clear()
        return
    _warned.clear()
    if not sys.warnoptions:  # else the user has said what to do with warnings; Python's default hides this kind
        warnings.filterwarnings("default", message="grpc-heartbeat: ", category=ResourceWarning)


def place() -> str | None:
    """Return ``file:line`` of the innermost frame outside this library and grpcio; ``None`` while not ``enabled``."""
    if not enabled:
        return None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_LIBRARIES):
        frame = frame.f_back
    return None if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def watch(call: object, method: str, made_at: str | None) -> None:
    """List ``call`` in ``debug.calls()`` until it is done or gone. It must be weakly referable; ``done()`` is asked."""
    if enabled:
        key = id(call)
        reference = weakref.ref(call, lambda _: _watched.pop(key, None))
        _watched[key] = (reference, method, made_at, time.monotonic())


def watched() -> Iterator[Watched]:
    """Yield the watched calls that are not done."""
    for key, (reference, method, made_at, since) in list(_watched.items()):
        call = reference()
        done = getattr(call, "done", None)
        if call is None or (done is not None and done()):
            _watched.pop(key, None)
        else:
            yield Watched(call, method, made_at, since)


def warn(made_at: str | None, method: str) -> None:
    """Warn, once per place, that a call of ``method`` was dropped without an end. ``None``, an unknown place, is silent."""
    mark = object()
    if made_at is None or len(_warned) >= MOST_PLACES or _warned.setdefault(made_at, mark) is not mark:
        return
    file, _, line = made_at.rpartition(":")
    warnings.warn_explicit(
        f"grpc-heartbeat: a call of {method} was dropped before its end, and has been cancelled; cancel it, read it to "
        f"its end, or keep a reference to it (made at {made_at}; said once per place)",
        ResourceWarning,
        filename=file,
        lineno=int(line),
    )


if os.environ.get("GRPC_HEARTBEAT_DEBUG", "") not in {"", "0"}:
    switch(True)
