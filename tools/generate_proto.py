"""Generate ``grpc_heartbeat/v1`` from ``proto/``, or check that the committed files are what would be generated.

``timeouts.proto`` goes there as it is, too: who declares contracts imports it, and must find it where the package is installed.
The descriptors of ``tests/contract/shop.proto`` are generated along, because the tests have no protoc.

Run by ``make proto`` and ``make check`` in an environment of its own (``requirements/proto.txt``).
"""

from __future__ import annotations

import difflib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
V1 = Path("grpc_heartbeat/v1")
HEARTBEAT, TIMEOUTS = V1 / "heartbeat.proto", V1 / "timeouts.proto"
SHOP = Path("tests/contract/shop.proto")
DESCRIPTORS = SHOP.with_suffix(".binpb")
GENERATED = (
    *(V1 / f"heartbeat{end}" for end in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")),
    *(V1 / f"timeouts{end}" for end in ("_pb2.py", "_pb2.pyi", ".proto")),
    DESCRIPTORS,
)


def generate(into: Path) -> None:
    """Run protoc with its Python, stub and gRPC outputs into the folder ``into``, and put the rest beside."""
    outputs = [f"--{kind}_out={into}" for kind in ("python", "pyi", "grpc_python", "mypy_grpc")]
    protoc("-Iproto", *outputs, str(HEARTBEAT))
    protoc("-Iproto", *outputs[:2], str(TIMEOUTS))
    shutil.copy(ROOT / "proto" / TIMEOUTS, into / TIMEOUTS)
    (into / DESCRIPTORS).parent.mkdir(parents=True, exist_ok=True)
    described = ["--include_source_info", f"--descriptor_set_out={into / DESCRIPTORS}", SHOP.name]
    protoc("-Iproto", f"-I{SHOP.parent}", *described)


def protoc(*arguments: str) -> None:
    """Run protoc; ends the program when it fails."""
    plugin = Path(sys.executable).with_name("protoc-gen-mypy_grpc")
    command = [sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc", f"--plugin=protoc-gen-mypy_grpc={plugin}"]
    done = subprocess.run([*command, *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"protoc failed:\n{done.stderr}")


def stale(fresh: Path) -> list[str]:
    """Return the lines of the difference between the committed files and those under ``fresh``."""
    lines: list[str] = []
    for path in GENERATED:
        committed = (ROOT / path).read_bytes() if (ROOT / path).exists() else b""
        wanted = (fresh / path).read_bytes()
        if path == DESCRIPTORS:
            lines += [] if committed == wanted else [f"{path} differs"]
            continue
        old, new = committed.decode().splitlines(), wanted.decode().splitlines()
        lines += difflib.unified_diff(old, new, f"{path} (committed)", f"{path} (generated)", lineterm="")
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
