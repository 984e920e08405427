"""Finding, loading and running subcommands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from grpc_heartbeat.cli import main
from grpc_heartbeat.cli.app import COMMANDS, Command
from grpc_heartbeat.cli.extras import MissingExtraError, require
from tests.cli.conftest import command_environment, command_line

GREET = """
def add_parser(subparsers):
    subparsers.add_parser("greet").add_argument("--status", type=int, default=0)

def run(arguments):
    if arguments.status == 77:
        from grpc_heartbeat.cli.extras import require
        require("surely_absent.part", extra="cli")
    if arguments.status == 88:
        raise KeyboardInterrupt
    return arguments.status
"""
COMMANDS_HERE = (
    Command("greet", "greet_command", "say hello"),
    Command("never", "never_command", "must not be loaded"),
    Command("absent", "absent_command", "is not installed"),
)


@pytest.fixture(autouse=True)
def command_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "greet_command.py").write_text(GREET)
    (tmp_path / "never_command.py").write_text("raise RuntimeError('was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "greet_command", raising=False)


def test_only_the_named_command_is_loaded_and_its_status_returned() -> None:
    assert main(["greet", "--status", "5"], COMMANDS_HERE) == 5
    sys.modules.pop("greet_command")


def test_help_lists_what_is_installed_and_loads_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"], COMMANDS_HERE)
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "say hello" in text
    assert "must not be loaded" in text
    assert "is not installed" not in text
    assert "greet_command" not in sys.modules


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["absent"], ["greet", "--status", "x"]])
def test_a_wrong_command_line_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments, COMMANDS_HERE)
    assert caught.value.code == 2
    assert "usage: grpc-heartbeat" in capsys.readouterr().err


def test_a_missing_extra_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["greet", "--status", "77"], COMMANDS_HERE) == 2
    assert "pip install 'grpc-heartbeat[cli]'" in capsys.readouterr().err


def test_an_interrupt_ends_without_a_traceback() -> None:
    assert main(["greet", "--status", "88"], COMMANDS_HERE) == 130


def test_require_returns_what_is_installed_and_hides_no_other_fault(tmp_path: Path) -> None:
    assert require("json.decoder", extra="cli").__name__ == "json.decoder"
    (tmp_path / "broken_inside.py").write_text("import surely_absent_too")
    with pytest.raises(ModuleNotFoundError) as caught:
        require("broken_inside", extra="cli")
    assert not isinstance(caught.value, MissingExtraError)


def test_ping_is_offered_and_needs_no_extra() -> None:
    code = "import sys; sys.modules['rich'] = None\nfrom grpc_heartbeat.cli import main; main(['ping', '--help'])"
    done = subprocess.run([sys.executable, "-c", code], env=command_environment(), capture_output=True, text=True)
    assert "ping" in {command.name for command in COMMANDS}
    assert (done.returncode, done.stderr) == (0, "")
    assert "HOST:PORT" in done.stdout


@pytest.mark.parametrize("arguments", [["options", "show"], ["options", "show", "--json"]])
def test_output_that_nobody_reads_has_a_status_of_its_own(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = command_line(*arguments)
    done = subprocess.run(command, env=command_environment(), stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_version_is_shown() -> None:
    done = subprocess.run(command_line("--version"), env=command_environment(), capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("grpc-heartbeat ")
