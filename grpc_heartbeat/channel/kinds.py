"""The four ways in which a channel of either stack makes a multicallable, led to one."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from grpc_heartbeat._types import Deserializer, Serializer

Kind: TypeAlias = Literal["unary_unary", "unary_stream", "stream_unary", "stream_stream"]
Signature: TypeAlias = "tuple[str, Serializer | None, Deserializer | None, bool | None]"
"""What a multicallable is made from: the method's full name, its serializers, and whether it is registered."""

STREAMS: frozenset[Kind] = frozenset(("unary_stream", "stream_stream"))
"""The kinds whose responses are streamed."""


TO_INNER = ("_inner", "switch")
"""The attributes by which a channel of ours finds the channel inside."""


def name_of(method: str | bytes) -> str:
    """Return a method's full name as text; grpcio takes bytes, too."""
    return method.decode() if isinstance(method, bytes) else method


class Kinds:
    """A base for channels, before grpcio's own."""

    def _method(self, kind: Kind, signature: Signature) -> Any:
        """Return a multicallable of this kind."""
        raise NotImplementedError(f"{type(self).__name__}._method")

    def unary_unary(
        self,
        method: str | bytes,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> Any:
        return self._method(
            "unary_unary", (name_of(method), request_serializer, response_deserializer, _registered_method)
        )

    def unary_stream(
        self,
        method: str | bytes,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> Any:
        return self._method(
            "unary_stream", (name_of(method), request_serializer, response_deserializer, _registered_method)
        )

    def stream_unary(
        self,
        method: str | bytes,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> Any:
        return self._method(
            "stream_unary", (name_of(method), request_serializer, response_deserializer, _registered_method)
        )

    def stream_stream(
        self,
        method: str | bytes,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> Any:
        return self._method(
            "stream_stream", (name_of(method), request_serializer, response_deserializer, _registered_method)
        )
