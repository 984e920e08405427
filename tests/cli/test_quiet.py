"""The C library's log is discarded, Python's is not, and afterwards all is as before."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.conftest import command_environment

PROGRAM = """
import os, sys
from grpc_heartbeat.cli.quiet import native_log_silenced
with native_log_silenced():
    os.write(2, b"native inside ")
    print("python inside", file=sys.stderr)
os.write(2, b"native after ")
print("python after", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "python inside\nnative after python after\n"),
        ({"GRPC_VERBOSITY": "NONE"}, "native inside python inside\nnative after python after\n"),
        ({"GRPC_TRACE": ""}, "native inside python inside\nnative after python after\n"),
    ],
)
def test_only_the_native_log_is_silenced(environment: dict[str, str], expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=command_environment() | environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, expected)
