from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BeatType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BEAT_TYPE_UNSPECIFIED: _ClassVar[BeatType]
    BEAT_TYPE_LIVENESS: _ClassVar[BeatType]
    BEAT_TYPE_READINESS: _ClassVar[BeatType]

class ServingStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERVING_STATUS_UNSPECIFIED: _ClassVar[ServingStatus]
    SERVING_STATUS_SERVING: _ClassVar[ServingStatus]
    SERVING_STATUS_NOT_SERVING: _ClassVar[ServingStatus]

class GoodbyeReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GOODBYE_REASON_UNSPECIFIED: _ClassVar[GoodbyeReason]
    GOODBYE_REASON_CLOSING: _ClassVar[GoodbyeReason]
    GOODBYE_REASON_DRAINING: _ClassVar[GoodbyeReason]
BEAT_TYPE_UNSPECIFIED: BeatType
BEAT_TYPE_LIVENESS: BeatType
BEAT_TYPE_READINESS: BeatType
SERVING_STATUS_UNSPECIFIED: ServingStatus
SERVING_STATUS_SERVING: ServingStatus
SERVING_STATUS_NOT_SERVING: ServingStatus
GOODBYE_REASON_UNSPECIFIED: GoodbyeReason
GOODBYE_REASON_CLOSING: GoodbyeReason
GOODBYE_REASON_DRAINING: GoodbyeReason

class Frame(_message.Message):
    __slots__ = ("hello", "beat", "ack", "goodbye")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    beat: Beat
    ack: Ack
    goodbye: Goodbye
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., beat: _Optional[_Union[Beat, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("service", "zone", "instance", "tracestate")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    service: str
    zone: str
    instance: str
    tracestate: str
    def __init__(self, service: _Optional[str] = ..., zone: _Optional[str] = ..., instance: _Optional[str] = ..., tracestate: _Optional[str] = ...) -> None: ...

class Beat(_message.Message):
    __slots__ = ("sequence", "trace_context", "type", "next_within_millis")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TRACE_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NEXT_WITHIN_MILLIS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    trace_context: bytes
    type: BeatType
    next_within_millis: int
    def __init__(self, sequence: _Optional[int] = ..., trace_context: _Optional[bytes] = ..., type: _Optional[_Union[BeatType, str]] = ..., next_within_millis: _Optional[int] = ...) -> None: ...

class Load(_message.Message):
    __slots__ = ("in_flight", "queue_delay_micros", "loop_lag_micros", "cpu_permille", "gc_pause_micros")
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DELAY_MICROS_FIELD_NUMBER: _ClassVar[int]
    LOOP_LAG_MICROS_FIELD_NUMBER: _ClassVar[int]
    CPU_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    GC_PAUSE_MICROS_FIELD_NUMBER: _ClassVar[int]
    in_flight: int
    queue_delay_micros: int
    loop_lag_micros: int
    cpu_permille: int
    gc_pause_micros: int
    def __init__(self, in_flight: _Optional[int] = ..., queue_delay_micros: _Optional[int] = ..., loop_lag_micros: _Optional[int] = ..., cpu_permille: _Optional[int] = ..., gc_pause_micros: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("sequence", "serving_status", "load", "advised_interval_millis", "sender")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SERVING_STATUS_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    ADVISED_INTERVAL_MILLIS_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    serving_status: ServingStatus
    load: Load
    advised_interval_millis: int
    sender: Hello
    def __init__(self, sequence: _Optional[int] = ..., serving_status: _Optional[_Union[ServingStatus, str]] = ..., load: _Optional[_Union[Load, _Mapping]] = ..., advised_interval_millis: _Optional[int] = ..., sender: _Optional[_Union[Hello, _Mapping]] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: GoodbyeReason
    message: str
    def __init__(self, reason: _Optional[_Union[GoodbyeReason, str]] = ..., message: _Optional[str] = ...) -> None: ...
