"""Rules of this codebase that no linter knows. Prints ``file:line: message`` for each breach and then exits with 1.

- Tests do not sleep to wait for something: they wait for the thing itself. A sleep that *is* the subject (a slow
  handler) says why on its line: ``# sleep: <reason>``. ``asyncio.sleep(0)`` only yields and is free.
- The core reads no clock: ``now`` is a parameter.
- The wall clock may be stepped, so nobody reads it, except to date what people or other machines read. Such a line says so:
  ``# wall clock: <reason>``.
- Private modules of grpcio are imported in ``_grpcio*.py`` only.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time", "time_ns", "now", "utcnow", "today"}
REASON = re.compile(r"#\s*sleep:\s*\S")
WALL_CLOCKS = {
    *(f"time.{name}" for name in ("time", "time_ns", "localtime", "gmtime", "ctime", "strftime", "asctime")),
    *(f"datetime.{name}" for name in ("now", "utcnow", "today")),
    *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
    *("date.today", "datetime.date.today"),
}
WALL_REASON = re.compile(r"#\s*wall clock:\s*\S")
SEAM = re.compile(r"_grpcio\w*\.py")
PRIVATE = re.compile(r"grpc\.(?:\w+\.)*_\w")


class Source(NamedTuple):
    """One file."""

    path: Path
    lines: list[str]
    tree: ast.Module


class Breach(NamedTuple):
    """One broken rule."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.message}"


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call with the last part of the called name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            target = node.func
            if isinstance(target, ast.Attribute):
                yield target.attr, node
            elif isinstance(target, ast.Name):
                yield target.id, node


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the full dotted name and the line of each absolute import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def sleeps(source: Source) -> Iterator[Breach]:
    """Find sleeps without a reason."""
    for name, call in calls(source.tree):
        if name == "sleep" and not only_yields(call) and not REASON.search(source.lines[call.lineno - 1]):
            message = "sleep in a test; wait for the event, or end the line with `# sleep: <reason>`"
            yield Breach(source.path, call.lineno, message)


def only_yields(call: ast.Call) -> bool:
    """Tell whether the call is ``sleep(0)``."""
    return len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def clock_reads(source: Source) -> Iterator[Breach]:
    """Find calls of anything that is named like a clock, however it was obtained (an injected clock is one too)."""
    for name, call in calls(source.tree):
        if name in CLOCKS:
            yield Breach(
                source.path, call.lineno, f"the core must not read a clock ({name}()); take `now` as a parameter"
            )


def wall_clocks(source: Source) -> Iterator[Breach]:
    """Find wall clocks, also where they are passed on and not called, or imported by their bare names."""
    named = [(ast.unparse(node), node.lineno) for node in ast.walk(source.tree) if isinstance(node, ast.Attribute)]
    for name, line in [*named, *((name, line) for name, line in imported(source.tree) if name.startswith("time."))]:
        if name in WALL_CLOCKS and not WALL_REASON.search(source.lines[line - 1]):
            message = f"{name} may be stepped; use time.monotonic, or end the line with `# wall clock: <reason>`"
            yield Breach(source.path, line, message)


def private_imports(source: Source) -> Iterator[Breach]:
    """Find imports of grpcio's private modules and names."""
    for name, line in imported(source.tree):
        if PRIVATE.match(name) and not SEAM.fullmatch(source.path.name):
            yield Breach(
                source.path,
                line,
                f"{name} is private to grpcio; only _grpcio*.py may import it",
            )


RULES = (
    ("tests", sleeps),
    ("grpc_heartbeat/core", clock_reads),
    ("grpc_heartbeat", wall_clocks),
    ("grpc_heartbeat", private_imports),
)


def breaches(root: Path = ROOT) -> list[Breach]:
    """Apply every rule to every file in its folder, generated code left out."""
    found: list[Breach] = []
    for folder, rule in RULES:
        for path in sorted((root / folder).rglob("*.py")):
            if not path.name.endswith(("_pb2.py", "_pb2_grpc.py")):
                text = path.read_text()
                found += rule(Source(path, text.splitlines(), ast.parse(text)))
    return found


if __name__ == "__main__":
    broken = breaches()
    print(*broken, sep="\n", end="\n" if broken else "")
    sys.exit(1 if broken else 0)
