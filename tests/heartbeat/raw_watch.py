"""A health watcher by hand, frame by frame: the one peer that can refuse to read (RFC 9113; flow control in section 5.2)."""

from __future__ import annotations

import socket
import struct

from grpc_health.v1 import health_pb2

from tests.peers import PATIENCE

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 1
END_HEADERS = 4
INITIAL_WINDOW_SIZE = 4
STREAM = 1


class RawWatch:
    """One Watch of ``service`` whose stream has a window of 0 bytes until :meth:`open_window`."""

    def __init__(self, target: str, service: str = "") -> None:
        host, _, port = target.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), PATIENCE)
        self._buffer = b""
        self._messages = b""
        self.ended_by: int | None = None
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self._send(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, 0))
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/grpc.health.v1.Health/Watch",
            ":authority": target,
            "te": "trailers",
            "content-type": "application/grpc",
        }
        self._send(HEADERS, END_HEADERS, STREAM, b"".join(map(_literal, headers, headers.values())))
        request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
        self._send(DATA, END_STREAM, STREAM, b"\0" + struct.pack(">I", len(request)) + request)

    def open_window(self, size: int = 1 << 20) -> None:
        """Let the server send ``size`` bytes more."""
        self._send(WINDOW_UPDATE, 0, STREAM, struct.pack(">I", size))

    def wait_for_headers(self) -> None:
        """Read until the server has answered with initial metadata."""
        while self._frame() != HEADERS:
            pass

    def statuses(self, last: int) -> list[int]:
        """Read until the status ``last`` was received; return all statuses so far."""
        while not (found := self._statuses()) or found[-1] != last:
            self._frame()
        return found

    def wait_for_end(self) -> int:
        """Read until the stream has ended; return the type of the frame that ended it."""
        while self.ended_by is None:
            self._frame()
        return self.ended_by

    def answer_until_closed(self) -> None:
        """Answer what must be answered, and never open the window, until the server has closed the connection."""
        try:
            while True:
                self._frame()
        except OSError:  # also a ConnectionError
            pass

    def close(self) -> None:
        self._socket.close()

    def _statuses(self) -> list[int]:
        found, rest = [], self._messages
        while len(rest) >= 5:
            (size,) = struct.unpack(">I", rest[1:5])
            if len(rest) < 5 + size:
                break
            found.append(health_pb2.HealthCheckResponse.FromString(rest[5 : 5 + size]).status)
            rest = rest[5 + size :]
        return found

    def _send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self._socket.sendall(
            struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload
        )

    def _frame(self) -> int:
        head = self._read(9)
        size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        stream = int.from_bytes(head[5:], "big")
        payload = self._read(size)
        if kind in (SETTINGS, PING) and not flags & ACK:
            self._send(kind, ACK, 0, payload if kind == PING else b"")
        elif kind == DATA:
            self._messages += payload
        if stream == STREAM and (kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM)):
            self.ended_by = kind
        return kind

    def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the server closed the connection")
            self._buffer += data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data


def _literal(name: str, value: str) -> bytes:
    """Return a header as HPACK's literal without indexing and without Huffman coding (RFC 7541, section 6.2.2)."""
    return b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
