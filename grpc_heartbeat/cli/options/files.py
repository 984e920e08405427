"""Files of options, and where in them each option stands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpc_heartbeat.cli.options.tree import Node, NotReadable, from_json, from_yaml
from grpc_heartbeat.options import Enforcement
from grpc_heartbeat.options.findings import End, Finding

MAX_BYTES = 1024 * 1024
NONE = "-"
"""Stands for no file."""

Pairs = list[tuple[Any, Any]]


class WrongFile(Exception):  # noqa: N818 - it is told to people, with the file and the line
    """A file cannot be read or understood."""


@dataclass(slots=True)
class Source:
    """What the files say, ready for ``check_options``, and the place of each entry."""

    client: Pairs | None = None
    server: Pairs | Enforcement | None = None
    places: dict[tuple[End, int | None], tuple[str, int]] = field(default_factory=dict)

    def place_of(self, finding: Finding) -> dict[str, Any]:
        """Return the file and line of what a finding is about; an option that is missing has its section's."""
        file, line = self.places.get((finding.end, finding.entry), (None, None))
        return {"file": file, "line": line}

    def add(self, end: End, file: str, node: Node) -> None:
        """Take the options of one end from ``node``."""
        if (self.client if end == "client" else self.server) is not None:
            raise WrongFile(f"{file}:{node.line}: the options of the {end} are given twice")
        self.places[end, None] = (file, node.line)
        foreign = _foreign(file, node) if end == "server" else None
        if foreign is not None:
            self.server = foreign
            return
        pairs: Pairs = []
        for place, (line, name, value) in enumerate(_entries(file, node)):
            self.places[end, place] = (file, line)
            pairs.append((name, value))
        if end == "client":
            self.client = pairs
        else:
            self.server = pairs


def read(client: str, server: str) -> Source:
    """Read the files; a file with the sections ``client`` and ``server`` may stand for both.

    Raises:
        MissingExtraError: a file is YAML and PyYAML is not installed.
        WrongFile: a file cannot be read or understood; the message says file and line.
    """
    source = Source()
    for end, file in (("client", client), ("server", server)):
        if file == NONE:
            continue
        node = _load(file)
        sections = _sections(file, node)
        if sections:
            for section, part in sections.items():
                source.add(section, file, part)
        else:
            source.add("client" if end == "client" else "server", file, node)
    if source.client is None and source.server is None:
        raise WrongFile("there is nothing to check: name a file")
    return source


def _load(file: str) -> Node:
    reader = {".json": from_json, ".yaml": from_yaml, ".yml": from_yaml}.get(Path(file).suffix.lower())
    if reader is None:
        raise WrongFile(f"{file}: the name of a file of options ends in .yaml, .yml or .json")
    try:
        if os.path.getsize(file) > MAX_BYTES:
            raise WrongFile(f"{file}: too large for options: more than {MAX_BYTES // 1024} KiB")
        return reader(Path(file).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise WrongFile(f"{file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise WrongFile(f"{file}: not UTF-8: {error.reason} at byte {error.start}") from error
    except NotReadable as error:
        raise WrongFile(f"{file}:{error.line}: {error}") from error


def _sections(file: str, node: Node) -> dict[End, Node]:
    """Return the parts of a file that holds both ends; empty for one that is a list of options."""
    if not isinstance(node.value, dict):
        return {}
    named = {key.value: value for key, value in node.value.items()}
    if not named or not set(named) <= {"client", "server"}:
        return {}
    if all(isinstance(part.value, (dict, list)) for part in named.values()):
        return {"client" if name == "client" else "server": part for name, part in named.items()}
    raise WrongFile(f"{file}:{node.line}: client and server must be mappings of option names to values")


def _entries(file: str, node: Node) -> Iterator[tuple[int, Any, Any]]:
    if isinstance(node.value, dict):
        for key, value in node.value.items():
            yield key.line, key.value, value.plain()
    elif isinstance(node.value, list):
        for entry in node.value:
            pair = entry.value
            if isinstance(pair, dict) and len(pair) == 1:
                pair = [*next(iter(pair.items()))]
            if not isinstance(pair, list) or len(pair) != 2:
                raise WrongFile(f"{file}:{entry.line}: an entry of a list of options is [name, value]")
            yield pair[0].line, pair[0].plain(), pair[1].plain()
    else:
        raise WrongFile(f"{file}:{node.line}: options are a mapping of names to values, or a list of [name, value]")


def _foreign(file: str, node: Node) -> Enforcement | None:
    """What a server in another language allows, if that is what the file says."""
    if not isinstance(node.value, dict) or [key.value for key in node.value] != ["enforcement"]:
        return None
    (allowed,) = node.value.values()
    if not isinstance(allowed.value, dict):
        raise WrongFile(f"{file}:{allowed.line}: enforcement must be a mapping such as {{min_interval: 5}}")
    known = ("min_interval", "permit_without_calls", "max_strikes")
    for key in allowed.value:
        if key.value not in known:
            raise WrongFile(f"{file}:{key.line}: enforcement has no {key.value!r}; there are {', '.join(known)}")
    try:
        return Enforcement(**{key.value: value.plain() for key, value in allowed.value.items()})
    except (TypeError, ValueError) as error:
        raise WrongFile(f"{file}:{allowed.line}: {error}") from error
