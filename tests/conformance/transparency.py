"""What may differ between a call of bare grpcio and the same call under this library.

More names, more words in the details of a call that a limit ended, and the time that is left where a limit of ours sets one.
"""

from __future__ import annotations

from typing import Any

_NAMES = ("call's names", "error's names")
_DETAILS = ("details", "call.details")


def differences(bare: dict[str, Any], ours: dict[str, Any], rewords: bool) -> list[str]:
    """Return in words what a program could see and should not."""
    found = [f"only one of them has: {sorted(bare.keys() ^ ours.keys())}"] if bare.keys() != ours.keys() else []
    for name in bare.keys() & ours.keys():
        theirs, mine = bare[name], ours[name]
        if name in _NAMES:
            same = theirs <= mine
            theirs, mine = theirs - mine, set()
        elif "time_remaining" in name:
            same = theirs == mine or (theirs is None and mine == "float")
        elif rewords and name in _DETAILS and isinstance(mine, str) and isinstance(theirs, str):
            same = mine.startswith(theirs)
        else:
            same = theirs == mine
        if not same:
            found.append(f"{name}: bare {theirs!r}, ours {mine!r}")
    return found
