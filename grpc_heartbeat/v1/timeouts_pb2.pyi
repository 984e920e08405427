from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor
TIMEOUT_FIELD_NUMBER: _ClassVar[int]
timeout: _descriptor.FieldDescriptor

class TimeoutContract(_message.Message):
    __slots__ = ("total_ms", "header_ms", "idle_ms", "write_ms", "p99_ms")
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    HEADER_MS_FIELD_NUMBER: _ClassVar[int]
    IDLE_MS_FIELD_NUMBER: _ClassVar[int]
    WRITE_MS_FIELD_NUMBER: _ClassVar[int]
    P99_MS_FIELD_NUMBER: _ClassVar[int]
    total_ms: int
    header_ms: int
    idle_ms: int
    write_ms: int
    p99_ms: int
    def __init__(self, total_ms: _Optional[int] = ..., header_ms: _Optional[int] = ..., idle_ms: _Optional[int] = ..., write_ms: _Optional[int] = ..., p99_ms: _Optional[int] = ...) -> None: ...
