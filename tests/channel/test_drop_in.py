"""Uses of channels and errors that grpcio allows without saying so, and that programs make."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import grpc

import grpc_heartbeat
from grpc_heartbeat.errors import EndedCall, timeout_of
from tests.channel.servers import Server
from tests.peers import path


def test_an_ended_call_can_be_copied_and_sent_to_another_process() -> None:
    with grpc_heartbeat.insecure_channel("127.0.0.1:1") as channel:
        call = channel.unary_unary(path("UnaryUnary")).future(b"", timeout=0)
    for again in (copy.copy(call), pickle.loads(pickle.dumps(call))):
        assert (type(again), again.code(), again.details()) == (EndedCall, call.code(), call.details())
        assert timeout_of(again) == timeout_of(call)


def test_a_methods_name_may_be_bytes_as_for_grpcio(server: Server) -> None:
    plain = grpc.insecure_channel(server.target)
    channels: list[Any] = [
        grpc_heartbeat.insecure_channel(server.target),
        grpc.intercept_channel(plain, *grpc_heartbeat.client_interceptors()),
    ]
    for channel in channels:
        assert channel.unary_unary(path("UnaryUnary").encode())(b"hello") == b"hello"
        channel.close()


def test_a_channel_can_be_copied_as_grpcios_can(server: Server) -> None:
    with grpc_heartbeat.insecure_channel(server.target) as channel:
        assert copy.copy(channel).unary_unary(path("UnaryUnary"))(b"hello") == b"hello"
