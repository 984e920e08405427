"""How beats get past the application's serializers: as messages of two classes that it never sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grpc_heartbeat._types import Deserializer, Serializer
from grpc_heartbeat.core.inband import BEAT_BYTES, MAGIC


class Outbound:
    """A beat to be sent, already serialized."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class Inbound:
    """A received message that may be a beat: it is as long as one and begins like one."""

    __slots__ = ("_deserialize", "data")

    def __init__(self, data: bytes, deserialize: Deserializer | None) -> None:
        self.data = data
        self._deserialize = deserialize

    def message(self) -> Any:
        """Return what the application is to get: it was data after all."""
        return self.data if self._deserialize is None else self._deserialize(self.data)


def serializer(serialize: Serializer | None) -> Serializer:
    """Return ``serialize`` so that it lets beats pass."""
    if serialize is None:
        return lambda message: message.data if type(message) is Outbound else message
    return lambda message: message.data if type(message) is Outbound else serialize(message)


def deserializer(deserialize: Deserializer | None) -> Deserializer:
    """Return ``deserialize`` so that what may be a beat comes as an ``Inbound``."""
    length = BEAT_BYTES
    inner: Callable[[bytes], Any] = _same if deserialize is None else deserialize

    def take(data: bytes) -> Any:
        if len(data) == length and data.startswith(MAGIC):
            return Inbound(data, deserialize)
        return inner(data)

    return take


def _same(data: bytes) -> bytes:
    return data


def codecs(
    kind: str, serialize: Serializer | None, deserialize: Deserializer | None
) -> tuple[Serializer | None, Deserializer | None]:
    """Return a client's serializers for methods of ``kind``, such as ``"stream_unary"``, so that they let beats pass."""
    return (
        serializer(serialize) if kind.startswith("stream") else serialize,
        deserializer(deserialize) if kind.endswith("stream") else deserialize,
    )
