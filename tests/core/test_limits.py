"""The limits of a method, changed part by part, each with where it came from."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.config import Timeouts
from grpc_heartbeat.core.limits import PARTS, UNLIMITED, Limits, Part, checked_parts, parts_of

values = st.none() | st.floats(0.001, 1e8)
some_parts = st.dictionaries(st.sampled_from(PARTS), values)


@given(st.lists(st.tuples(some_parts, st.text("abc", min_size=1))))
def test_the_last_change_of_a_part_counts_and_is_named(changes: list[tuple[dict[Part, float | None], str]]) -> None:
    limits = UNLIMITED
    for parts, source in changes:
        limits = limits.changed(parts, source)
    for part in PARTS:
        said = [(parts[part], source) for parts, source in changes if part in parts]
        value, source = said[-1] if said else (None, "policy")
        assert getattr(limits, part) == value
        assert limits.source(part) == source


@given(some_parts)
def test_a_change_without_a_source_is_explicit(parts: dict[Part, float | None]) -> None:
    limits = Limits(total=5.0, sources={"total": "policy:default"}).changed(parts)
    assert limits.source("total") == ("explicit" if "total" in parts else "policy:default")
    assert limits.total == parts.get("total", 5.0)


@pytest.mark.parametrize("part", PARTS)
def test_what_is_limited_is_told(part: Part) -> None:
    assert not UNLIMITED.staged
    assert not UNLIMITED.per_message
    limits = UNLIMITED.changed({part: 1.0})
    assert limits.staged is (part in ("connect", "header"))
    assert limits.per_message is (part in ("idle", "write"))


@given(st.fixed_dictionaries(dict.fromkeys(PARTS, values)))
def test_all_parts_of_timeouts(parts: dict[str, float | None]) -> None:
    assert parts_of(Timeouts(**parts)) == parts
    assert checked_parts("here", parts) == parts


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        (
            {"conect": 1},
            ValueError,
            r"here has no part 'conect' \(did you mean 'connect'\?\); the parts are total, con",
        ),
        ({"Total": 1}, ValueError, r"no part 'Total' \(did you mean 'total'\?\)"),
        ({"zzz": 1}, ValueError, r"no part 'zzz'; the parts are total, connect, header, idle, write"),
        ({"idle": 0}, ValueError, r"here\.idle must be more than 0 and at most 1e\+08 seconds; got 0"),
        ({"write": math.nan}, ValueError, r"here\.write must be more than 0"),
        ({"write": 10**400}, ValueError, r"here\.write must be more than 0"),
        ({"total": "8"}, TypeError, r"here\.total must be a number of seconds, not str \('8'\)"),
        ({"total": True}, TypeError, r"here\.total must be a number of seconds, not bool"),
    ],
)
def test_what_is_wrong_is_named(parts: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        checked_parts("here", parts)
