"""As much of HTTP/2 as the other end of a benchmark needs: frames, settings, pings and the connection's flow control.

Written out, because a peer made of grpcio costs as much per beat as what is measured. It trusts its peer. Windows are opened
so wide that what it reads is never held back. What it sends keeps to the connection's window; the window of each stream is
64 KB or more and is filled up by the other end as it reads, so a few bytes at a time cannot exhaust it.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Callable

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_HEAD = struct.Struct(">HBBBI")
_SETTING = struct.Struct(">HI")
_LENGTH = struct.Struct(">I")
_INITIAL_WINDOW_SIZE = 4
_WIDEST = 2**31 - 1
_FIRST_WINDOW = 65_535
_READ = 1 << 20


class PeerError(Exception):
    """The other end did what no benchmark expects."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return the bytes of one frame."""
    length = len(payload)
    return _HEAD.pack(length >> 8, length & 255, kind, flags, stream) + payload


def literal(name: int | str, value: str) -> bytes:
    """Return an HPACK field that goes into no table; ``name`` is an index below 127 of the static table, or text."""
    if isinstance(name, str):
        return b"\0" + _text(name) + _text(value)
    return (bytes([name]) if name < 15 else bytes([15, name - 15])) + _text(value)


def _text(text: str) -> bytes:
    assert len(text) < 127
    return bytes([len(text)]) + text.encode()


def message(body: bytes) -> bytes:
    """Return ``body`` as gRPC puts it into DATA frames."""
    return b"\0" + _LENGTH.pack(len(body)) + body


class Connection:
    """One end of a connection over a blocking socket.

    Args:
        heard: Called with kind, flags, stream and payload of each frame that concerns a stream.
        greeting: What goes out before the first frame: a client's preface.
        expects: How many bytes of preface come in before the first frame.
    """

    def __init__(
        self,
        sock: socket.socket,
        heard: Callable[[int, int, int, bytes], None],
        greeting: bytes = b"",
        expects: int = 0,
    ) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = sock
        self.open = True
        self._heard = heard
        self._skip = expects
        self._rest = b""
        self._out: list[bytes] = []
        self._credit = _FIRST_WINDOW
        self._held: deque[bytes] = deque()
        settings = _SETTING.pack(_INITIAL_WINDOW_SIZE, _WIDEST)
        window = _LENGTH.pack(_WIDEST - _FIRST_WINDOW)
        self.put(greeting + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, window))
        self.flush()

    def put(self, raw: bytes) -> None:
        """Queue the bytes of frames that no window limits."""
        self._out.append(raw)

    def data(self, raw: bytes) -> None:
        """Queue one DATA frame; it waits for the connection's window."""
        if self._held or self._credit < len(raw):
            self._held.append(raw)
        else:
            self._credit -= len(raw)  # its head is counted too: nine bytes on the safe side
            self._out.append(raw)

    def flush(self) -> None:
        """Send what is queued."""
        if self._out:
            out, self._out = self._out, []
            try:
                self.socket.sendall(b"".join(out))
            except OSError:
                self.open = False

    def read(self) -> None:
        """Take in what has arrived; call it when the socket is readable. Then ``flush``."""
        try:
            arrived = self.socket.recv(_READ)
        except OSError:
            arrived = b""
        if not arrived:
            self.open = False
            return
        if self._skip:
            skipped = min(self._skip, len(arrived))
            self._skip -= skipped
            arrived = arrived[skipped:]
        self._parse(self._rest + arrived if self._rest else arrived)

    def _parse(self, buffer: bytes) -> None:
        at, end, heard = 0, len(buffer), self._heard
        while end - at >= 9:
            high, low, kind, flags, stream = _HEAD.unpack_from(buffer, at)
            following = at + 9 + (high << 8 | low)
            if following > end:
                break
            if kind <= RST_STREAM:
                heard(kind, flags, stream, buffer[at + 9 : following])
            else:
                self._control(kind, flags, stream, buffer[at + 9 : following])
            at = following
        self._rest = buffer[at:]

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE and stream == 0:
            self._credit += _LENGTH.unpack(payload)[0]
            while self._held and self._credit >= len(self._held[0]):
                self._credit -= len(self._held[0])
                self._out.append(self._held.popleft())
        elif kind == SETTINGS and not flags & ACK:
            self.put(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.put(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY and payload[4:8] != bytes(4):
            raise PeerError(f"GOAWAY: {payload[8:].decode(errors='replace')}")
