"""Names of a module that are imported when they are first used (PEP 562), so that a feature that is off is not loaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def loader(module: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for ``module``; ``places`` maps each name to the module that defines it."""

    def load(name: str) -> Any:
        place = places.get(name)
        if place is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        found = importlib.import_module(place)
        return found if place.rpartition(".")[2] == name else getattr(found, name)

    return load
