"""The bytes of a ``grpc.health.v1.HealthListResponse``.

grpcio-health-checking has that message only in its newer releases, and a second definition of the same name in one process
is an error. It is a map of names to statuses, so its encoding is short: https://protobuf.dev/programming-guides/encoding/#maps
"""

from __future__ import annotations

from collections.abc import Mapping

_ENTRY = b"\x0a"  # field 1, length-delimited: an entry of the map, and in it the key
_VALUE = b"\x12"  # field 2, length-delimited: the HealthCheckResponse
_STATUS = b"\x08"  # field 1, varint


def encode_list(statuses: Mapping[str, int]) -> bytes:
    """Return the encoded response."""
    return b"".join(_ENTRY + _sized(_entry(name, status)) for name, status in statuses.items())


def _entry(name: str, status: int) -> bytes:
    response = _STATUS + _varint(status) if status else b""
    return _ENTRY + _sized(name.encode()) + _VALUE + _sized(response)


def _sized(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
