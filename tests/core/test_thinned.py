"""All values are kept, or every nth of them; all are counted."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.thinned import Thinned


def offer(thinned: Thinned[str, int], count: int) -> None:
    for number in range(count):
        if thinned.wants("even" if number % 2 == 0 else "odd"):
            thinned.keep(number)


@given(st.integers(2, 12), st.lists(st.integers(0, 400), max_size=4))
def test_what_is_kept_is_every_nth(most: int, rounds: list[int]) -> None:
    thinned: Thinned[str, int] = Thinned(most)
    total: Counter[str] = Counter()
    for count in rounds:
        offer(thinned, count)
        total += Counter(even=(count + 1) // 2, odd=count // 2)
        assert thinned.counts == total
        kept = thinned.take()
        assert len(thinned) == 0
        if count < most:
            assert kept == list(range(count))
            continue
        step = kept[1] - kept[0] if len(kept) > 1 else count
        assert kept == list(range(0, count, step))
        assert most / 4 <= len(kept) < most


def test_a_bound_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        Thinned(1)
