"""What watchers are told at the end, in the same words by both stacks."""

from __future__ import annotations


def left(reason: str | None) -> str:
    """Return the details with which a Watch ends after a drain."""
    return "this server left service" + (f": {reason}" if reason else "")


def gone(reason: str | None) -> str:
    """Return the details with which a Watch is refused after a drain."""
    return left(reason) + "; watch another one"
