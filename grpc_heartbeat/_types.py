"""Names for grpc's types that the annotations share. grpc's classes are generic in their stubs but not at run time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio

if TYPE_CHECKING:
    FutureBase = grpc.Future[Any]
    UnaryUnaryBase = grpc.UnaryUnaryMultiCallable[Any, Any]
    UnaryStreamBase = grpc.UnaryStreamMultiCallable[Any, Any]
    StreamUnaryBase = grpc.StreamUnaryMultiCallable[Any, Any]
    StreamStreamBase = grpc.StreamStreamMultiCallable[Any, Any]
    AioUnaryUnaryBase = grpc.aio.UnaryUnaryMultiCallable[Any, Any]
    AioUnaryUnaryCall = grpc.aio.UnaryUnaryCall[Any, Any]
    AioUnaryStreamBase = grpc.aio.UnaryStreamMultiCallable[Any, Any]
    AioUnaryStreamCall = grpc.aio.UnaryStreamCall[Any, Any]
    AioStreamUnaryBase = grpc.aio.StreamUnaryMultiCallable[Any, Any]
    AioStreamUnaryCall = grpc.aio.StreamUnaryCall[Any, Any]
    AioStreamStreamBase = grpc.aio.StreamStreamMultiCallable[Any, Any]
    AioStreamStreamCall = grpc.aio.StreamStreamCall[Any, Any]
else:
    FutureBase = grpc.Future
    UnaryUnaryBase = grpc.UnaryUnaryMultiCallable
    UnaryStreamBase = grpc.UnaryStreamMultiCallable
    StreamUnaryBase = grpc.StreamUnaryMultiCallable
    StreamStreamBase = grpc.StreamStreamMultiCallable
    AioUnaryUnaryBase = grpc.aio.UnaryUnaryMultiCallable
    AioUnaryUnaryCall = grpc.aio.UnaryUnaryCall
    AioUnaryStreamBase = grpc.aio.UnaryStreamMultiCallable
    AioUnaryStreamCall = grpc.aio.UnaryStreamCall
    AioStreamUnaryBase = grpc.aio.StreamUnaryMultiCallable
    AioStreamUnaryCall = grpc.aio.StreamUnaryCall
    AioStreamStreamBase = grpc.aio.StreamStreamMultiCallable
    AioStreamStreamCall = grpc.aio.StreamStreamCall

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]
Serializer: TypeAlias = Callable[[Any], bytes]
Deserializer: TypeAlias = Callable[[bytes], Any]
Behavior: TypeAlias = Callable[..., Any]
ChannelOptions: TypeAlias = Iterable[tuple[str, Any]]
