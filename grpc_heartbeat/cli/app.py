"""Which subcommands there are, and how one is found, loaded and run.

A subcommand is a module with two functions: ``add_parser(subparsers)`` adds a parser of the subcommand's name, and
``run(args)`` does the work and returns the exit status. Only the module that the command line names is imported; the
help page of the whole command takes its one-line summaries from the table here. A subcommand whose module is not part
of this installation is not offered.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from grpc_heartbeat.cli.extras import MissingExtraError

if TYPE_CHECKING:
    SubParsers = argparse._SubParsersAction[argparse.ArgumentParser]

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
"""What a shell reports for a process that SIGINT ended."""
EXIT_BROKEN_PIPE = 141
"""What a shell reports for a process that SIGPIPE ended: the reader of our output has gone."""


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: its name, the module that implements it, and one line for the help page."""

    name: str
    module: str
    summary: str

    def installed(self) -> bool:
        """Whether the module is there, without importing it."""
        return importlib.util.find_spec(self.module) is not None

    def load(self) -> ModuleType:
        """Import the module."""
        return importlib.import_module(self.module)


COMMANDS = (
    Command("ping", "grpc_heartbeat.cli.ping", "measure the round-trip time to a gRPC server, and its health"),
    Command("options", "grpc_heartbeat.cli.options", "check channel options before they bite, and show profiles"),
    Command("contract", "grpc_heartbeat.cli.contract", "check the time-outs that services declare, and show them"),
    Command("demo", "grpc_heartbeat.cli.demo", "show deadlines and heartbeats between three processes"),
)


def main(argv: Sequence[str] | None = None, commands: Sequence[Command] = COMMANDS) -> int:
    """Run ``grpc-heartbeat`` with ``argv`` (default: the process's arguments) and return its exit status.

    Returns:
        The subcommand's status; 2 for a missing extra; 130 after an interrupt; 141 when nobody reads
        the output any more.

    Raises:
        SystemExit: from argparse, with status 2 for a wrong command line and 0 after ``--help`` or ``--version``.
    """
    try:
        return _with_output(list(sys.argv[1:] if argv is None else argv), commands)
    except MissingExtraError as error:
        print(f"grpc-heartbeat: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains when it flushes
        return EXIT_BROKEN_PIPE


def _with_output(argv: list[str], commands: Sequence[Command]) -> int:
    """Run, and have all output written before the status is known. A terminal that lacks a letter is shown its number."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _run(argv, commands)
    finally:
        if sys.stdout is not None:  # it is, where a shell has closed it
            sys.stdout.flush()


def _run(argv: list[str], commands: Sequence[Command]) -> int:
    parser = argparse.ArgumentParser(
        prog="grpc-heartbeat", description="Tools around deadlines, cancellation and heartbeats over gRPC."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    asked_for = next((word for word in argv if not word.startswith("-")), None)
    loaded = [_add(command, subparsers, command.name == asked_for) for command in commands if command.installed()]
    arguments = parser.parse_args(argv)
    module = next(module for module in loaded if module is not None)
    status: int = module.run(arguments)
    return status


def _add(command: Command, subparsers: SubParsers, asked_for: bool) -> ModuleType | None:
    if not asked_for:
        subparsers.add_parser(command.name, help=command.summary)
        return None
    module = command.load()
    module.add_parser(subparsers)
    return module


def _version() -> str:
    try:
        return importlib.metadata.version("grpc-heartbeat")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"
