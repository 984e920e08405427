"""The wheel holds exactly the files it should, and works in an environment that has nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.packaging import readme, wheel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STRATEGIES = tuple(f"grpc_heartbeat.strategies.{name}" for name in ("http2", "quic", "websocket"))
NEEDS_EXTRA = ("grpc_heartbeat.cli", "grpc_heartbeat.demo", *STRATEGIES)
"""What may need more than the core installation."""

IMPORT_ALL = f"""
import importlib, pkgutil
import grpc_heartbeat

for module in pkgutil.walk_packages(grpc_heartbeat.__path__, "grpc_heartbeat.", onerror=print):
    if not module.name.startswith({NEEDS_EXTRA!r}):
        importlib.import_module(module.name)
print(grpc_heartbeat.__file__)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel.build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment in which only the wheel and its dependencies are installed."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    interpreter = folder / "bin" / "python"
    pip = [str(interpreter), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, str(built)], check=True, timeout=240)
    return interpreter


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def wait_until_listening(address: str, server: subprocess.Popen[bytes], seconds: float = 20) -> None:
    host, port = address.split(":")
    give_up = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            if server.poll() is not None or time.monotonic() > give_up:
                raise
            time.sleep(0.02)  # sleep: a foreign process announces nothing; its port is asked again


@contextmanager
def serving(command: list[str], address: str, folder: Path) -> Iterator[None]:
    """Run a server in the background until the block ends."""
    with subprocess.Popen(command, cwd=folder, env=clean_environment()) as server:
        try:
            wait_until_listening(address, server)
            yield
        finally:
            server.kill()


def test_file_list_is_pinned(built: Path) -> None:
    pinned = wheel.PINNED.read_text().splitlines()
    assert wheel.files(built) == pinned, "if this is meant: `make wheel-files`, and commit the list"


def test_only_the_package_is_shipped(built: Path) -> None:
    tops = {name.split("/")[0] for name in wheel.files(built)}
    assert tops == {"grpc_heartbeat", "grpc_heartbeat-*.dist-info"}
    assert "grpc_heartbeat/py.typed" in wheel.files(built)


def test_every_module_imports_with_the_core_dependencies(python: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(python), "-c", IMPORT_ALL],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(python.parent.parent)), "the wheel must be imported, not the checkout"


@pytest.mark.parametrize(
    ("name", "package"), [("http2-ping", "h2"), ("quic-ping", "aioquic"), ("websocket-ping", "websockets")]
)
def test_a_strategy_whose_library_is_missing_names_the_extra(
    python: Path, tmp_path: Path, name: str, package: str
) -> None:
    command = [str(python), "-m", "grpc_heartbeat.cli", "ping", "--strategy", name, "localhost:1"]
    done = subprocess.run(
        command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    said = f"grpc-heartbeat: this needs the package '{package}': pip install 'grpc-heartbeat[strategies]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_readme_server_and_client_run(python: Path, tmp_path: Path) -> None:
    address = free_address()
    for name in ("server", "client"):
        (tmp_path / f"{name}.py").write_text(readme.example(name, address))
    with serving([str(python), "server.py"], address, tmp_path):
        done = subprocess.run(
            [str(python), "client.py"],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "the README's client prints what it got"
