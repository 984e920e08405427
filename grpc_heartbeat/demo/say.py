"""What a node tells the director: one JSON object per line on its standard output.

``at`` is the monotonic clock in seconds, which all processes of one machine share, so that instants of different processes can
be compared.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from time import monotonic
from typing import Any

_lock = threading.Lock()


def own_stdout() -> None:
    """Keep standard output for reports: what anything else prints there goes to standard error."""
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = reports


def say(kind: str, *, at: float | None = None, **facts: Any) -> None:
    """Tell that ``kind`` happened at ``at`` (default: now). Safe from any thread."""
    line = json.dumps({"kind": kind, "at": monotonic() if at is None else at, **facts})
    with _lock:
        print(line, file=sys.stdout, flush=True)
