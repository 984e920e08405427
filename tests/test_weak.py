"""Who looks through a weak table is not disturbed by threads that add to it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from grpc_heartbeat import _loop_timers, _ticks
from grpc_heartbeat._weak import listed
from grpc_heartbeat.heartbeat import held


class Thing:
    """Something that a table may refer to weakly."""

    def is_closed(self) -> bool:
        return False


class GrowingSet(weakref.WeakSet[Any]):
    """Has another element put into it while it is looked through for the first time."""

    grown: Any = None

    def __iter__(self) -> Iterator[Any]:
        for element in super().__iter__():
            if self.grown is None:
                self.grown = Thing()
                self.add(self.grown)
            yield element


class GrowingTable(weakref.WeakKeyDictionary[Any, Any]):
    """Does the same with keys and values."""

    grown: Any = None

    def keys(self) -> Iterator[Any]:  # type: ignore[override]
        return self._while_growing(super().keys())

    def values(self) -> Iterator[Any]:  # type: ignore[override]
        return self._while_growing(super().values())

    __iter__ = keys

    def _while_growing(self, found: Any) -> Iterator[Any]:
        for one in found:
            if self.grown is None:
                self.grown = Thing()
                self[self.grown] = SimpleNamespace(pauses="of another thread")
            yield one


def test_a_table_that_grows_is_looked_through_again() -> None:
    kept = [Thing(), Thing()]
    growing = GrowingSet(kept)
    assert set(listed(lambda: growing)) == {*kept, growing.grown}


def test_servers_may_be_made_while_they_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [Thing(), Thing()]
    monkeypatch.setattr(held, "_all", GrowingSet(kept))
    assert len(held.all_held()) == 3


@pytest.mark.parametrize(
    ("module", "look"),
    [
        (_ticks, lambda: [pauses for driver, pauses in _ticks.all_pauses() if driver == "loop"]),
        (_loop_timers, _loop_timers.all_loop_timers),
    ],
)
def test_loops_may_begin_while_they_are_listed(
    monkeypatch: pytest.MonkeyPatch, module: Any, look: Callable[[], list[Any]]
) -> None:
    kept = [Thing(), Thing()]
    monkeypatch.setattr(module, "_by_loop", GrowingTable({one: SimpleNamespace(pauses="") for one in kept}))
    assert len(look()) == 3


def test_loops_may_begin_while_closed_ones_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [Thing(), Thing()]
    kept[0].is_closed = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(_loop_timers, "_by_loop", GrowingTable(dict.fromkeys(kept)))
    _loop_timers._forget_closed_loops()
    assert kept[0] not in set[object](_loop_timers._by_loop)
    assert len(_loop_timers.all_loop_timers()) == 2
