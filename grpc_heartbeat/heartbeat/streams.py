"""What a heartbeat wants of its stream, and what the stream reports: the same for both stacks and all engines.

An engine opens the Keepalive method on a channel that it was made with, sends messages in the order in which it gets them, one
after the other, and reports what comes. It knows nothing of frames, beats or time. ``start``, ``send``, ``finish`` and
``cancel`` return at once and raise nothing; each of them does nothing once the stream has ended. The end is reported once, and
nothing after it. Reports may come from any thread of the stack, also before ``start`` has returned.
"""

from __future__ import annotations

from typing import Protocol

import grpc


class Stream(Protocol):
    """One stream."""

    def start(self) -> None:
        """Open the stream, and send what was given before."""
        ...

    def send(self, data: bytes, number: int = 0) -> None:
        """Send ``data`` behind what was given before; report its being written if ``number`` is not 0."""
        ...

    def finish(self) -> None:
        """End our side after what was given before."""
        ...

    def cancel(self) -> None:
        """End the stream now."""
        ...


class Listener(Protocol):
    """Whom a stream reports to."""

    def received(self, stream: Stream, data: bytes) -> None:
        """A message came."""
        ...

    def written(self, stream: Stream, number: int) -> None:
        """The transport has taken the message that was given with ``number``."""
        ...

    def ended(self, stream: Stream, code: grpc.StatusCode | None, details: str | None) -> None:
        """The stream ended, with this status if it is known."""
        ...

    def cut_off(self, stream: Stream, why: str) -> None:
        """The stream ended, and its status cannot be seen."""
        ...

    def channel_closed(self, stream: Stream, error: Exception) -> None:
        """The stream could not be opened because the channel is closed."""
        ...
