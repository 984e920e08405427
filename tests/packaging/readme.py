"""The programs in README.md, as a reader would copy them."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"
ADDRESS = "127.0.0.1:50051"
"""Where the README's server listens; a test puts a free port in its place."""

_EXAMPLE = re.compile(r"<!-- example: (?P<name>\w+) -->\s*```python\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)


def example(name: str, address: str, text: str | None = None) -> str:
    """Return the code block that follows ``<!-- example: name -->``, speaking to ``address``.

    Raises:
        LookupError: there is no such block, or it does not name the address that is to be replaced.
    """
    blocks = {found["name"]: found["code"] for found in _EXAMPLE.finditer(README.read_text() if text is None else text)}
    if name not in blocks:
        raise LookupError(f"README.md has no code block after <!-- example: {name} -->; it has {sorted(blocks)}")
    if ADDRESS not in blocks[name]:
        raise LookupError(f"the README's example {name!r} does not use the address {ADDRESS}")
    return blocks[name].replace(ADDRESS, address)
