"""What goes over the wire: a relay that keeps all bytes, and the gRPC messages in them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from types import TracebackType

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA = 0


class Tap:
    """Relays one connection to ``target`` and keeps what went over it. Use it as a context manager.

    Attributes:
        up: The bytes from client to server.
        down: The bytes from server to client.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._address = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.up = bytearray()
        self.down = bytearray()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="tap")]

    def __enter__(self) -> Tap:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in [self._listener, *self._sockets]:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join()
        for each in [self._listener, *self._sockets]:
            each.close()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        server = socket.create_connection(self._address)
        self._sockets += [client, server]
        for source, sink, kept in ((client, server, self.up), (server, client, self.down)):
            thread = threading.Thread(target=self._pass_on, args=(source, sink, kept), name="tap")
            self._threads.append(thread)
            thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
        try:
            while data := source.recv(65536):
                kept += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def messages(stream: bytes | bytearray) -> list[bytes]:
    """Return the gRPC messages, with their five bytes of framing, in the DATA frames of the bytes of one direction."""
    data = b"".join(_payloads(bytes(stream)))
    found = []
    while data:
        length = 5 + int.from_bytes(data[1:5], "big")
        found.append(data[:length])
        data = data[length:]
    return found


def _payloads(stream: bytes) -> Iterator[bytes]:
    stream = stream.removeprefix(_PREFACE)
    while len(stream) >= 9:
        length = int.from_bytes(stream[:3], "big")
        if stream[3] == _DATA:
            yield stream[9 : 9 + length]
        stream = stream[9 + length :]
