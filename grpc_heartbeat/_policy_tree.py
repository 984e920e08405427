"""YAML and JSON as a small tree that keeps the line of every value, read so that a hostile file costs no more than its size.

Theory of operation. YAML is taken as its stream of events, not as objects: nothing is constructed, an alias is refused where it
stands, so nothing can grow, and what is nested deeper than any policy is refused before it is followed. The JSON reader
exists for the same two things, lines and bounded depth; the standard library reads its strings and numbers.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 3
"""Mappings within mappings: a policy's sections, their entries, an entry's parts."""

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_NULLS = ("", "~", "null", "Null", "NULL")
_PLAIN_TAGS = tuple(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "null", "map"))
_NO_LISTS = "a policy has no lists"
_TOO_DEEP = f"nested too deeply: a policy has {MAX_DEPTH} levels"


class Wrong(Exception):  # noqa: N818 - caught before it reaches anybody
    """Something is wrong at ``line``."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


@dataclass(frozen=True, slots=True)
class Node:
    """A value and the line where it begins: a list of pairs of nodes for a mapping, else text, number, boolean or ``None``."""

    line: int
    value: Any


def from_yaml(text: str) -> Node:
    """Read one YAML document.

    Raises:
        ImportError: PyYAML is not installed.
        Wrong: the text is not YAML, or has something that no policy has.
    """
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            "a YAML policy file needs PyYAML: pip install 'grpc-heartbeat[policy]', or write the policy as JSON",
            name="yaml",
        ) from error
    try:
        return _YamlReader(yaml, yaml.parse(text, Loader=yaml.SafeLoader)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        hint = "; indent with spaces, not with tabs" if "\\t" in str(error.problem) else ""
        raise Wrong(mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}{hint}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Wrong(line, f"not YAML: the character U+{ord(text[error.position]):04X} is not allowed") from None


class _YamlReader:
    def __init__(self, yaml: Any, events: Iterator[Any]) -> None:
        self._yaml = yaml
        self._events = events

    def document(self) -> Node:
        next(self._events)  # the start of the stream
        if isinstance(next(self._events), self._yaml.StreamEndEvent):
            raise Wrong(1, "the file is empty")
        tree = self._node(next(self._events), 0)
        next(self._events)  # the end of the document
        after = next(self._events)
        if not isinstance(after, self._yaml.StreamEndEvent):
            raise Wrong(after.start_mark.line + 1, "a policy is one document; here begins another")
        return tree

    def _node(self, event: Any, depth: int) -> Node:
        yaml = self._yaml
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise Wrong(line, f"aliases are not understood: write out what *{event.anchor} stands for")
        if isinstance(event, yaml.SequenceStartEvent):
            raise Wrong(line, _NO_LISTS)
        if event.tag is not None and event.tag not in _PLAIN_TAGS:
            raise Wrong(line, f"tags are not understood; found {event.tag!r}")
        if isinstance(event, yaml.ScalarEvent):
            return Node(line, _plain(event.value) if event.implicit[0] else event.value)
        if depth == MAX_DEPTH:
            raise Wrong(line, _TOO_DEEP)
        pairs: list[tuple[Node, Node]] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            pairs.append((self._key(event), self._node(next(self._events), depth + 1)))
        return Node(line, pairs)

    def _key(self, event: Any) -> Node:
        line = event.start_mark.line + 1
        if not isinstance(event, self._yaml.ScalarEvent):
            raise Wrong(line, "a key must be a plain word")
        return Node(line, event.value)


def _plain(text: str) -> str | float | None:
    if text in _NULLS:
        return None
    return float(text) if NUMBER.fullmatch(text) else text


def from_json(text: str) -> Node:
    """Read one JSON value.

    Raises:
        Wrong: the text is not JSON, or has something that no policy has.
    """
    return _JsonReader(text).document()


class _JsonReader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._breaks = [found.start() for found in re.finditer("\n", text)]
        self._decoder = json.JSONDecoder(parse_constant=self._constant)

    def document(self) -> Node:
        if not self._peek():
            raise Wrong(1, "the file is empty")
        tree = self._node(0)
        if self._peek():
            raise Wrong(self._line(), "not JSON: something follows the policy")
        return tree

    def _node(self, depth: int) -> Node:
        first = self._peek()
        line = self._line()
        if first == "[":
            raise Wrong(line, _NO_LISTS)
        if first != "{":
            return self._scalar()
        if depth == MAX_DEPTH:
            raise Wrong(line, _TOO_DEEP)
        self._at += 1
        pairs: list[tuple[Node, Node]] = []
        more = self._peek() != "}"
        while more:
            if self._peek() != '"':
                raise Wrong(self._line(), 'not JSON: expected a key in double quotes (")')
            key = self._scalar()
            self._take(":")
            pairs.append((key, self._node(depth + 1)))
            more = self._peek() == ","
            if more:
                self._at += 1
        self._take("}")
        return Node(line, pairs)

    def _scalar(self) -> Node:
        line = self._line()
        try:
            value, self._at = self._decoder.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            raise Wrong(error.lineno, f"not JSON: {error.msg[:1].lower()}{error.msg[1:]}") from None
        except ValueError:  # an integer of more digits than Python converts
            raise Wrong(line, "the number is too long") from None
        return Node(line, value)

    def _peek(self) -> str:
        while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _take(self, sign: str) -> None:
        found = self._peek()
        if found != sign:
            raise Wrong(self._line(), f"not JSON: expected {sign!r}, found {found or 'the end of the file'!r}")
        self._at += 1

    def _line(self) -> int:
        return bisect_left(self._breaks, self._at) + 1

    def _constant(self, name: str) -> Any:
        raise Wrong(self._line(), f"{name} is no number of seconds")
