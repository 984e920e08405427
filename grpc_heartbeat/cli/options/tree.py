"""YAML and JSON as nodes that know their lines. YAML is only composed, never constructed: a hostile file makes no objects."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

from grpc_heartbeat.cli.extras import require

MAX_DEPTH = 20


class NotReadable(Exception):  # noqa: N818 - it is told to people, with file and line
    """The text is not of its format."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A value and the line where it begins: a dict of nodes by node, a list of nodes, or a plain value."""

    line: int
    value: Any

    def plain(self) -> Any:
        """Return the value without lines."""
        if isinstance(self.value, dict):
            return {key.value: value.plain() for key, value in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def from_yaml(text: str) -> Node:
    """Read one YAML document.

    Raises:
        MissingExtraError: PyYAML is not installed.
        NotReadable: it is not YAML.
    """
    yaml = require("yaml", extra="policy")
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            raise NotReadable(1, "the file is empty")
        return _from_yaml(yaml, loader, root, 0, set())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotReadable(mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise NotReadable(1, f"not YAML: {error}") from None
    except (AttributeError, LookupError, ValueError, OverflowError, RecursionError) as error:  # such as of "!!bool x"
        raise NotReadable(1, f"not YAML: {error}") from None
    finally:
        loader.dispose()


def _from_yaml(yaml: Any, loader: Any, node: Any, depth: int, seen: set[int]) -> Node:
    line = node.start_mark.line + 1
    if depth > MAX_DEPTH:
        raise NotReadable(line, "nested too deeply")
    if isinstance(node, yaml.ScalarNode):
        return Node(line, loader.construct_object(node))
    if id(node) in seen:
        raise NotReadable(line, "aliases are not understood: write out what they stand for")
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        return Node(line, [_from_yaml(yaml, loader, item, depth + 1, seen) for item in node.value])
    parts = [_from_yaml(yaml, loader, part, depth + 1, seen) for pair in node.value for part in pair]
    for key in parts[::2]:
        if isinstance(key.value, (list, dict)):
            raise NotReadable(key.line, "a name is one word, not a list or a mapping")
    return Node(line, dict(zip(parts[::2], parts[1::2], strict=True)))


def from_json(text: str) -> Node:
    """Read one JSON value.

    Raises:
        NotReadable: it is not JSON.
    """
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise NotReadable(line, f"not JSON: {getattr(error, 'msg', error)}") from None
    return _JsonReader(text).node(0)


class _JsonReader:
    """Reads once more what is known to be JSON, to learn the lines."""

    _SPACE = re.compile(r"[\s,:]*")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._breaks = [found.start() for found in re.finditer("\n", text)]
        self._decoder = json.JSONDecoder()

    def node(self, depth: int) -> Node:
        first, line = self._next(), self._line()
        if depth > MAX_DEPTH:
            raise NotReadable(line, "nested too deeply")
        if first not in "{[":
            value, self._at = self._decoder.raw_decode(self._text, self._at)
            return Node(line, value)
        self._at += 1
        items: list[Node] = []
        while self._next() not in "}]":
            items.append(self.node(depth + 1))
        self._at += 1
        return Node(line, items if first == "[" else dict(zip(items[::2], items[1::2], strict=True)))

    def _next(self) -> str:
        found = self._SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._text[self._at]

    def _line(self) -> int:
        return bisect_left(self._breaks, self._at) + 1
