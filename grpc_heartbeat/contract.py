"""Time-outs that services declare in their ``.proto`` files: read them, make the clients' policy of them, check them.

::

    contracts = contract.load("shop.binpb")                      # protoc --include_source_info --descriptor_set_out=shop.binpb
    channel = insecure_channel(target, timeouts=contract.policy_of(contracts))
    report = contract.check(contracts, policy="policy.yaml", baseline=contract.load("released.binpb"))

Contracts are a mapping of methods, such as ``"shop.Orders/Place"``, to what each declares; those that declare nothing are in
it, too. ``grpc-heartbeat contract`` is the same for the command line. docs/contract.md explains both.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError

from grpc_heartbeat.core.contract import (
    SAID,
    Finding,
    MethodContract,
    Observed,
    Place,
    Report,
    in_order,
)
from grpc_heartbeat.core.contract_changes import change_findings
from grpc_heartbeat.core.contract_rules import (
    Client,
    contract_findings,
    is_foreign,
    name_findings,
    observed_findings,
    policy_findings,
)
from grpc_heartbeat.core.limits import PARTS, Part
from grpc_heartbeat.policy import Entry, TimeoutPolicy
from grpc_heartbeat.policy_file import read_with_lines
from grpc_heartbeat.v1 import timeouts_pb2

__all__ = [
    "Contracts",
    "Finding",
    "MethodContract",
    "Observed",
    "Place",
    "Report",
    "check",
    "include",
    "load",
    "of_descriptors",
    "of_modules",
    "of_services",
    "policy_of",
]

Contracts: TypeAlias = Mapping[str, MethodContract]
"""What methods declare, by their full names without a leading slash."""

MAX_BYTES = 64 * 1024 * 1024
"""Largest file of descriptors, in bytes."""

_Places: TypeAlias = Mapping[tuple[str, ...], Place]
_SERVICE, _METHOD, _OPTIONS = 6, 2, 4
"""Numbers of fields in ``descriptor.proto``, of which the paths of source info are made."""


def include() -> str:
    """Return the folder that protoc needs as ``-I`` to find ``grpc_heartbeat/v1/timeouts.proto``."""
    return str(Path(__file__).parents[1])


def load(path: str | os.PathLike[str]) -> Contracts:
    """Read contracts from a file that holds a ``FileDescriptorSet``, as protoc and buf write it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file, or larger than 64 MiB; the message says the file.
    """
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"{os.fspath(path)}: too large for descriptors: more than {MAX_BYTES // 1024**2} MiB")
    try:
        return of_descriptors(data)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def of_descriptors(data: bytes) -> Contracts:
    """Read contracts from the bytes of a ``FileDescriptorSet``. If it has source info, contracts have their lines.

    Raises:
        ValueError: the bytes are no such set.
    """
    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(data).file
    except DecodeError:
        raise ValueError("not a FileDescriptorSet, as `protoc --descriptor_set_out` writes it") from None
    return _of_files(files)


def of_modules(*modules: ModuleType | FileDescriptor) -> Contracts:
    """Read contracts from generated modules such as ``shop_pb2``, or from their ``DESCRIPTOR``. There are no lines.

    Raises:
        TypeError: something else is given.
    """
    return _of_files(_file_of(module) for module in modules)


def of_services(*services: str, pool: Any = None) -> Contracts:
    """Read the contracts of services, by their full names, from a descriptor pool. There are no lines.

    Args:
        services: Such as ``"shop.Orders"``.
        pool: A ``DescriptorPool``. Default: the one in which generated modules are registered when they are imported.

    Raises:
        KeyError: the pool has no such service.
    """
    found: dict[str, MethodContract] = {}
    for name in services:
        service = (pool or descriptor_pool.Default()).FindServiceByName(name)
        contracts = _of_files([_file_of(service.file)])
        found |= {method: contract for method, contract in contracts.items() if contract.service == name}
    return found


def policy_of(contracts: Contracts, *, default: Entry | None = None, name: str = "contract") -> TimeoutPolicy:
    """Return the policy that clients should use: an entry for each method that declares limits.

    Args:
        contracts: What to make it of.
        default: What holds where a contract says nothing, as for ``TimeoutPolicy``. Default: no limit.
        name: The policy's name. Errors then say ``policy:contract:shop.Orders/Place``. Default ``"contract"``.

    Raises:
        TypeError, ValueError: ``default`` or ``name`` is not what ``TimeoutPolicy`` takes.
    """
    entries: Any = {method: limits for method, one in contracts.items() if (limits := one.limits())}
    return TimeoutPolicy(default, methods=entries, name=name)


def check(
    contracts: Contracts,
    *,
    policy: TimeoutPolicy | str | os.PathLike[str] | None = None,
    observed: Mapping[str, Observed | Mapping[str, float]] | None = None,
    baseline: Contracts | None = None,
) -> Report:
    """Check contracts by themselves and against all that is given.

    Args:
        contracts: Those of now.
        policy: What clients use: a ``TimeoutPolicy``, or the path of its file, whose lines are then said. Default: not known.
        observed: What was measured, by method: an ``Observed``, or a mapping of its arguments, as
            ``AdaptiveTimeouts.observed()`` has them. Default: nothing.
        baseline: The contracts that clients were written against, such as those of the last release. Default: not known.

    Returns:
        The findings, errors first. Methods of the packages ``google``, ``grpc`` and ``grpc_heartbeat`` are left alone.

    Raises:
        ImportError, OSError, ValueError: the file of ``policy`` cannot be read, as for ``TimeoutPolicy.load``.
        TypeError, ValueError: a mapping in ``observed`` is not what ``Observed`` takes; the message names the method.
    """
    own = {method: contract for method, contract in contracts.items() if not is_foreign(method)}
    used, places = _policy(policy)
    measured = {method.removeprefix("/"): _observed(method, value) for method, value in (observed or {}).items()}
    changes = [] if baseline is None else list(change_findings(own, baseline))
    removed = {finding.method for finding in changes if finding.rule == "contract-removed"}
    found = [contract_findings(contract) for method, contract in own.items() if method not in removed]
    for method, contract in own.items():
        client = _client(used, places, contract)
        found.append(policy_findings(contract, client) if used is not None else iter(()))
        if method in measured:
            found.append(observed_findings(contract, client, measured[method]))
    if used is not None:
        services = {contract.service for contract in own.values()}
        found.append(name_findings("error", "service", used.services, services, _of_section(places, "services")))
        found.append(name_findings("error", "method", used.methods, own, _of_section(places, "methods")))
    there = {method: value.place for method, value in measured.items() if value.place is not None}
    found.append(name_findings("warning", "method", measured, own, there))
    return Report(in_order(chain(changes, *found)), len(own))


def _observed(method: str, value: Observed | Mapping[str, Any]) -> Observed:
    if isinstance(value, Observed):
        return value
    try:
        return Observed(**value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"observed[{method!r}]: {error}") from None


def _policy(policy: TimeoutPolicy | str | os.PathLike[str] | None) -> tuple[TimeoutPolicy | None, _Places]:
    if policy is None or isinstance(policy, TimeoutPolicy):
        return policy, {}
    arguments, lines = read_with_lines(policy)
    return TimeoutPolicy(**arguments), {key: Place(os.fspath(policy), line) for key, line in lines.items()}


def _client(policy: TimeoutPolicy | None, places: _Places, contract: MethodContract) -> Client:
    if policy is None:
        return Client()
    found: dict[Part, Place] = {}
    for part in PARTS:
        keys = [("methods", contract.method, part), ("services", contract.service, part), ("default", part)]
        if part == "total" and contract.streams_responses:
            del keys[1:]
        for key in keys:
            if key in places:
                found[part] = places[key]
                break
    return Client(policy.limits(contract.method, streams=contract.streams_responses), found)


def _of_section(places: _Places, section: str) -> dict[str, Place]:
    return {key[1]: place for key, place in places.items() if key[0] == section and len(key) == 2}


def _file_of(module: Any) -> descriptor_pb2.FileDescriptorProto:
    descriptor = module if isinstance(module, FileDescriptor) else getattr(module, "DESCRIPTOR", None)
    if not isinstance(descriptor, FileDescriptor):
        raise TypeError(f"contracts are read from generated modules or their DESCRIPTOR, not from {module!r}")
    return descriptor_pb2.FileDescriptorProto.FromString(descriptor.serialized_pb)


def _of_files(files: Iterable[descriptor_pb2.FileDescriptorProto]) -> dict[str, MethodContract]:
    found: dict[str, MethodContract] = {}
    for file in files:
        lines = _lines(file)
        package = f"{file.package}." if file.package else ""
        for at, service in enumerate(file.service):
            for index, method in enumerate(service.method):
                name = f"{package}{service.name}/{method.name}"
                found[name] = _contract(name, method, Place(file.name, lines.get((at, index))))
    return found


def _lines(file: descriptor_pb2.FileDescriptorProto) -> dict[tuple[int, int], int]:
    """Return the line of each method's contract, or of the method where it has none, by the places of both in the file."""
    methods: dict[tuple[int, int], int] = {}
    contracts: dict[tuple[int, int], int] = {}
    for location in file.source_code_info.location:
        path, line = location.path, location.span[0] + 1 if location.span else 0
        if line and len(path) >= 4 and (path[0], path[2]) == (_SERVICE, _METHOD):
            method = (path[1], path[3])
            if len(path) == 4:
                methods[method] = line
            elif tuple(path[4:6]) == (_OPTIONS, timeouts_pb2.TIMEOUT_FIELD_NUMBER):
                contracts[method] = min(line, contracts.get(method, line))
    return methods | contracts


def _contract(name: str, method: descriptor_pb2.MethodDescriptorProto, place: Place) -> MethodContract:
    extension: Any = timeouts_pb2.timeout
    said = method.options.Extensions[extension]
    return MethodContract(
        name,
        method.options.HasExtension(extension),
        **{part: getattr(said, f"{part}_ms") / 1000 or None for part in SAID},
        streams_requests=method.client_streaming,
        streams_responses=method.server_streaming,
        place=place,
    )
