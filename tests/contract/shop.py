"""The shop's contracts: as protoc compiled them from ``shop.proto``, and made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

from grpc_heartbeat.core.contract import MethodContract, Place
from grpc_heartbeat.v1 import timeouts_pb2

FILE = Path(__file__).with_name("shop.binpb")
PLACE, WATCH, IMPORT = "shop.Orders/Place", "shop.Orders/Watch", "shop.Orders/Import"


def descriptors() -> descriptor_pb2.FileDescriptorSet:
    """Return the compiled set, as one that may be changed."""
    return descriptor_pb2.FileDescriptorSet.FromString(FILE.read_bytes())


def said(method: descriptor_pb2.MethodDescriptorProto) -> timeouts_pb2.TimeoutContract:
    """Return the contract of a method, which has one from now on, to be changed."""
    extension: Any = timeouts_pb2.timeout
    contract: timeouts_pb2.TimeoutContract = method.options.Extensions[extension]
    contract.SetInParent()
    return contract


def changed(**milliseconds: int) -> bytes:
    """Return the compiled set with another contract of ``Place``; without fields, with none."""
    shop = descriptors()
    place = shop.file[0].service[0].method[0]
    extension: Any = timeouts_pb2.timeout
    place.options.ClearExtension(extension)
    if milliseconds:
        said(place).MergeFrom(timeouts_pb2.TimeoutContract(**milliseconds))
    return shop.SerializeToString()


def method(name: str = PLACE, *, declared: bool = True, **parts: Any) -> MethodContract:
    """Return a contract that is written on line 7 of ``shop.proto``."""
    return MethodContract(name, declared, **parts, place=Place("shop.proto", 7))


def shop(*contracts: MethodContract) -> dict[str, MethodContract]:
    """Return contracts by method."""
    return {contract.method: contract for contract in contracts}
