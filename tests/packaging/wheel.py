"""Build the wheel and list its files. Run as a module (``make wheel-files``), it pins the present list."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PINNED = Path(__file__).with_name("wheel_files.txt")


def build(into: Path) -> Path:
    """Build the wheel of this checkout into the folder ``into`` and return its path."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", str(into), str(ROOT)], check=True, timeout=240)
    (wheel,) = into.glob("*.whl")
    return wheel


def files(wheel: Path) -> list[str]:
    """Return the names of the wheel's files, sorted, with ``*`` in place of the version."""
    version = wheel.name.split("-")[1]
    with zipfile.ZipFile(wheel) as archive:
        return sorted(name.replace(f"-{version}.dist-info/", "-*.dist-info/") for name in archive.namelist())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PINNED.write_text("".join(f"{name}\n" for name in files(build(Path(folder)))))
    print(f"wrote {PINNED.relative_to(ROOT)}")
