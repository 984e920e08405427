"""The records of ``policy``: files of JSON lines, however large and whatever is in them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, BinaryIO

from grpc_heartbeat.cli.contract.files import WrongFile
from grpc_heartbeat.core.proposals import Evidence
from grpc_heartbeat.policy import method_name

MAX_LINE = 64 * 1024
"""Longest line that is a record, in bytes."""


def evidence(files: Iterable[str]) -> Evidence:
    """Read files of records; lines that are none are counted.

    Raises:
        WrongFile: a file cannot be read.
    """
    found = Evidence()
    for name in files:
        try:
            with open(name, "rb") as file:
                while line := file.readline(MAX_LINE):
                    if len(line) == MAX_LINE and not line.endswith(b"\n"):
                        _pass_over(file)
                        found.add(None)
                    elif line.strip():
                        found.add(_record(line))
        except OSError as error:
            raise WrongFile(f"{name}: {error.strerror or error}") from error
    return found


def _pass_over(file: BinaryIO) -> None:
    """Read to the end of the line."""
    while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
        pass


def _record(line: bytes) -> Any:
    """Return what the line says, ``None`` if it is no JSON or names no method."""
    try:
        record = json.loads(line)
        method_name(record["method"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return record
