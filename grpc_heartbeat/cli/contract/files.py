"""The files of ``contract``: descriptors and measurements."""

from __future__ import annotations

from grpc_heartbeat import contract
from grpc_heartbeat.cli.options.tree import Node, NotReadable, from_json
from grpc_heartbeat.contract import Contracts, Observed, Place
from grpc_heartbeat.core.limits import meant
from grpc_heartbeat.policy import method_name

MAX_BYTES = 16 * 1024 * 1024
"""Largest file of measurements, in bytes."""

_FIELDS = ("p50", "p95", "p99", "count")


class WrongFile(Exception):  # noqa: N818 - it is told to people, with the file
    """A file cannot be read or understood."""


def descriptors(*files: str) -> Contracts:
    """Read contracts from files of descriptors.

    Raises:
        WrongFile: a file cannot be read, is no ``FileDescriptorSet`` or has no methods; the message says which.
    """
    found: dict[str, contract.MethodContract] = {}
    for file in files:
        try:
            contracts = contract.load(file)
        except OSError as error:
            raise WrongFile(f"{file}: {error.strerror or error}") from error
        except ValueError as error:
            raise WrongFile(str(error)) from error
        if not contracts:
            raise WrongFile(f"{file}: there are no methods in it; was it written by `protoc --descriptor_set_out`?")
        found |= contracts
    return found


def measurements(file: str) -> dict[str, Observed]:
    """Read what was measured from a JSON object of methods.

    Raises:
        WrongFile: the file cannot be read or understood; the message says file and line.
    """
    found: dict[str, Observed] = {}
    try:
        for key, value in _mapping(_load(file), "measurements", "methods"):
            name = _name(key)
            if name in found:
                raise NotReadable(key.line, f"{name!r} is given twice")
            found[name] = _observed(value, key, Place(file, key.line))
    except NotReadable as error:
        raise WrongFile(f"{file}:{error.line}: {error}") from error
    return found


def _load(file: str) -> Node:
    try:
        with open(file, "rb") as opened:
            content = opened.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise WrongFile(f"{file}: too large for measurements: more than {MAX_BYTES // 1024**2} MiB")
        return from_json(content.decode("utf-8-sig"))
    except OSError as error:
        raise WrongFile(f"{file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise WrongFile(f"{file}: not UTF-8: {error.reason} at byte {error.start}") from error


def _name(key: Node) -> str:
    try:
        return method_name(key.value)
    except ValueError as error:
        raise NotReadable(key.line, str(error)) from error


def _observed(value: Node, key: Node, place: Place) -> Observed:
    fields: dict[str, object] = {}
    for field, content in _mapping(value, repr(key.value), ", ".join(_FIELDS)):
        if field.value not in _FIELDS:
            close = meant(field.value, _FIELDS)
            raise NotReadable(field.line, f"there is no {field.value!r}{close}; {', '.join(_FIELDS)} are known")
        if content.value is not None:
            fields[field.value] = content.plain()
    if "p99" not in fields:
        raise NotReadable(key.line, f"{key.value!r} has no p99")
    try:
        return Observed(**fields, place=place)  # type: ignore[arg-type]  # it checks its arguments
    except (TypeError, ValueError) as error:
        raise NotReadable(value.line, f"{key.value!r}: {error}") from error


def _mapping(node: Node, what: str, of: str) -> list[tuple[Node, Node]]:
    if not isinstance(node.value, dict):
        raise NotReadable(node.line, f"{what} must be an object of {of}")
    return list(node.value.items())
