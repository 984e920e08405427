"""What watchers are told, in the same words by both stacks."""

from __future__ import annotations


def gone(reason: str | None) -> str:
    """Return the details with which a Watch is refused after a drain."""
    return "this server left service" + (f" ({reason})" if reason else "") + "; watch another one"
