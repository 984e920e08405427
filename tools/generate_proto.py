"""Generate ``grpc_heartbeat/v1`` from ``proto/``, or check that the committed files are what would be generated.

Run by ``make proto`` and ``make check`` in an environment of its own (``requirements/proto.txt``).
"""

from __future__ import annotations

import difflib
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = Path("grpc_heartbeat/v1/heartbeat.proto")
GENERATED = tuple(PROTO.with_name(PROTO.stem + end) for end in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi"))


def generate(into: Path) -> None:
    """Run protoc with its Python, stub and gRPC outputs into the folder ``into``."""
    plugin = Path(sys.executable).with_name("protoc-gen-mypy_grpc")
    outputs = [f"--{kind}_out={into}" for kind in ("python", "pyi", "grpc_python", "mypy_grpc")]
    command = [sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc", f"--plugin=protoc-gen-mypy_grpc={plugin}"]
    done = subprocess.run(
        [*command, "-Iproto", *outputs, str(PROTO)], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"protoc failed:\n{done.stderr}")


def stale(fresh: Path) -> list[str]:
    """Return the lines of the difference between the committed files and those under ``fresh``."""
    lines: list[str] = []
    for path in GENERATED:
        committed = (ROOT / path).read_text().splitlines() if (ROOT / path).exists() else []
        wanted = (fresh / path).read_text().splitlines()
        lines += difflib.unified_diff(committed, wanted, f"{path} (committed)", f"{path} (generated)", lineterm="")
    return lines


def check() -> int:
    """Return 1 and print the difference if the committed files are stale."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        difference = stale(Path(folder))
    if difference:
        print("\n".join(difference))
        print("The generated code is stale: run `make proto` and commit the result.", file=sys.stderr)
    return 1 if difference else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(check())
    generate(ROOT)
