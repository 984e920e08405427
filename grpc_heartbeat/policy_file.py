"""Policy files: YAML or JSON into the arguments of ``TimeoutPolicy``, with the line of everything that is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grpc_heartbeat._policy_tree import NUMBER, Node, Wrong, from_json, from_yaml
from grpc_heartbeat.core.limits import PARTS, Part, checked_parts, known_part, meant
from grpc_heartbeat.policy import method_name, service_name

MAX_BYTES = 256 * 1024
"""Largest policy file, in bytes."""

Lines = dict[tuple[str, ...], int]
"""The line of each entry and of each part of it: by section, name (none for the default) and part."""

_READERS = {".json": from_json, ".yaml": from_yaml, ".yml": from_yaml}
_KEYS = ("default", "services", "methods", "name")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(rf"({NUMBER.pattern}) ?({'|'.join(_UNITS)})")
_DURATIONS = "a number of seconds such as 2.5, a duration such as 250ms, 3s, 2m or 1h, or none for no limit"


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the arguments for ``TimeoutPolicy`` that the file at ``path`` says.

    Raises:
        ImportError: the file is YAML and PyYAML is not installed.
        OSError: the file cannot be read.
        ValueError: something in it is wrong; the message says the file, the line and what is allowed.
    """
    return read_with_lines(path)[0]


def read_with_lines(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Lines]:
    """Do what ``read`` does, and return the lines of what the file says, too.

    Raises:
        ImportError, OSError, ValueError: as ``read``.
    """
    reader = _READERS.get(Path(path).suffix.lower())
    if reader is None:
        raise ValueError(f"{os.fspath(path)}: the name of a policy file ends in .yaml, .yml or .json")
    try:
        tree = reader(_text(path))
        return _policy(tree), _lines(tree)
    except Wrong as wrong:
        raise ValueError(f"{os.fspath(path)}:{wrong.line}: {wrong}") from None


def _text(path: str | os.PathLike[str]) -> str:
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise Wrong(1, f"the file is too large for a policy: more than {MAX_BYTES // 1024} KiB")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Wrong(line, f"not UTF-8: byte 0x{content[error.start]:02X} at offset {error.start}") from None


def _policy(tree: Node) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for key, value in _pairs(tree, "a policy", f"the keys {', '.join(_KEYS)}"):
        if key.value not in _KEYS:
            raise Wrong(
                key.line, f"there is no key {key.value!r}{meant(key.value, _KEYS)}; {', '.join(_KEYS)} are the keys"
            )
        if key.value == "default":
            arguments["default"] = {} if value.value is None else _parts("default", value)
        elif key.value == "name":
            arguments["name"] = _word(value)
        else:
            arguments[key.value] = {} if value.value is None else _entries(key.value, value)
    return arguments


def _lines(policy: Node) -> Lines:
    """Return the lines of a tree that was found to be a policy."""
    lines: Lines = {}
    for section, content in policy.value:
        if section.value == "name" or content.value is None:
            continue
        if section.value == "default":
            lines |= {("default", part.value): part.line for part, _ in content.value}
            continue
        for key, parts in content.value:
            entry = (section.value, key.value.removeprefix("/"))
            lines[entry] = key.line
            lines |= {(*entry, part.value): part.line for part, _ in parts.value}
    return lines


def _entries(section: str, node: Node) -> dict[str, dict[Part, float | None]]:
    kind, name_of = ("service", service_name) if section == "services" else ("method", method_name)
    entries: dict[str, dict[Part, float | None]] = {}
    lines: dict[str, int] = {}
    for key, value in _pairs(node, section, f"the full name of each {kind}"):
        name: str = _located(key.line, name_of, key.value)
        if name in entries:
            raise Wrong(key.line, f"{section} has an entry for {name!r} already, on line {lines[name]}")
        lines[name] = key.line
        entries[name] = _parts(f"{section}[{name!r}]", value)
    return entries


def _parts(where: str, node: Node) -> dict[Part, float | None]:
    parts: dict[Part, float | None] = {}
    for key, value in _pairs(node, where, f"the parts {', '.join(PARTS)}"):
        part: Part = _located(key.line, known_part, where, key.value)
        parts |= _located(value.line, checked_parts, where, {part: _seconds(f"{where}.{part}", value)})
    return parts


def _seconds(where: str, node: Node) -> float | None:
    value = node.value
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    if isinstance(value, str):
        text = value.strip()
        if text.lower() == "none":
            return None
        if found := _DURATION.fullmatch(text):
            return float(found[1]) * _UNITS[found[2]]
    raise Wrong(node.line, f"{where} must be {_DURATIONS}; got {_shown(value)}")


def _word(node: Node) -> str:
    if isinstance(node.value, str) and node.value:
        return node.value
    raise Wrong(node.line, f"name must be text; got {_shown(node.value)}")


def _pairs(node: Node, what: str, of: str) -> list[tuple[Node, Node]]:
    """Return the pairs of a mapping with distinct keys."""
    if not isinstance(node.value, list):
        raise Wrong(node.line, f"{what} must be a mapping with {of}; got {_shown(node.value)}")
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if key.value in lines:
            raise Wrong(key.line, f"{what} has the key {key.value!r} already, on line {lines[key.value]}")
        lines[key.value] = key.line
    return node.value


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = "a mapping" if isinstance(value, list) else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _located(line: int, check: Callable[..., Any], *args: Any) -> Any:
    try:
        return check(*args)
    except (TypeError, ValueError) as error:
        raise Wrong(line, str(error)) from None
