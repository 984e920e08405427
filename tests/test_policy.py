"""A policy: the more exact entry wins, part by part, and says that it did."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat import TimeoutPolicy, Timeouts
from grpc_heartbeat.core.limits import PARTS, Part

SERVICE = "shop.Orders"
METHOD = "shop.Orders/Place"

values = st.none() | st.floats(0.001, 1e8)
partial = st.dictionaries(st.sampled_from(PARTS), values)
entries = partial | st.builds(Timeouts, **dict.fromkeys(PARTS, values))


def said(entry: Any, part: Part) -> Any:
    """Return what ``entry`` says of ``part``, or ``...`` when it says nothing."""
    return getattr(entry, part) if isinstance(entry, Timeouts) else entry.get(part, ...)


@given(entries, st.none() | entries, st.none() | entries, st.booleans())
def test_the_most_exact_entry_that_says_a_part_wins(default: Any, service: Any, method: Any, streams: bool) -> None:
    policy = TimeoutPolicy(
        default,
        services={} if service is None else {SERVICE: service},
        methods={} if method is None else {METHOD: method},
    )
    limits = policy.limits(f"/{METHOD}", streams=streams)
    levels = [("policy:default", default), (f"policy:{SERVICE}", service), (f"policy:{METHOD}", method)]
    for part in PARTS:
        value, source = None, "policy"
        for name, entry in levels:
            if entry is not None and said(entry, part) is not ...:
                value, source = said(entry, part), name
        if streams and part == "total" and source != f"policy:{METHOD}":
            value = None
        assert getattr(limits, part) == value
        assert limits.source(part) == source


def test_only_the_exact_names_match() -> None:
    policy = TimeoutPolicy(
        Timeouts(total=1), services={SERVICE: {"total": 2}, "shop": {"total": 9}}, methods={f"/{METHOD}": {"total": 3}}
    )
    totals = {
        "/shop.Orders/Place": 3,
        "shop.Orders/Place": 3,
        "/shop.Orders/PlaceAll": 2,
        "/shop.OrdersArchive/Place": 1,
        "/shop/Orders": 9,
        "/shop.Orders": 1,
        "": 1,
    }
    assert {name: policy.limits(name, streams=False).total for name in totals} == totals


def test_a_policys_name_is_part_of_the_source() -> None:
    policy = TimeoutPolicy(Timeouts(connect=1), services={SERVICE: {"idle": 2}}, name="checkout")
    limits = policy.limits(f"/{METHOD}", streams=True)
    assert (limits.source("connect"), limits.source("idle")) == (
        "policy:checkout:default",
        "policy:checkout:shop.Orders",
    )


def test_what_was_worked_out_is_kept_and_bounded() -> None:
    policy = TimeoutPolicy(Timeouts(total=1))
    first = policy.limits("/a/b", streams=False)
    assert policy.limits("/a/b", streams=False) is first
    assert policy.limits("/a/b", streams=True) is not first
    for number in range(10_000):
        policy.limits(f"/a/{number}", streams=False)
    assert len(policy._known) <= 4096
    assert policy.limits("/a/b", streams=False) == first


def test_a_policy_cannot_be_changed() -> None:
    entry: dict[str, float | None] = {"total": 1.0}
    services = {SERVICE: entry}
    policy = TimeoutPolicy(entry, services=services)
    entry["total"] = 2.0
    services["other"] = {"total": 3.0}
    assert policy.limits(f"/{METHOD}", streams=False).total == 1.0
    assert policy.limits("/other/x", streams=False).total == 1.0
    with pytest.raises(AttributeError, match="cannot be changed"):
        policy.name = "x"
    with pytest.raises(AttributeError, match="cannot be changed"):
        del policy._default


def test_policies_are_equal_copied_and_shown_by_what_they_say() -> None:
    policy = TimeoutPolicy({"total": 1}, services={SERVICE: {"idle": None}}, methods={METHOD: Timeouts()}, name="n")
    same = TimeoutPolicy(
        {"total": 1.0}, services={SERVICE: {"idle": None}}, methods={f"/{METHOD}": Timeouts()}, name="n"
    )
    assert policy == same
    assert hash(policy) == hash(same)
    assert policy != TimeoutPolicy({"total": 1})
    assert policy != "policy"
    for again in (copy.deepcopy(policy), pickle.loads(pickle.dumps(policy)), eval(repr(policy))):
        assert again == policy
        assert again.limits(f"/{METHOD}", streams=False) == policy.limits(f"/{METHOD}", streams=False)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"default": 8}, TypeError, r"TimeoutPolicy\.default must be a Timeouts or a mapping .*, not int \(8\)"),
        (
            {"default": {"conect": 1}},
            ValueError,
            r"TimeoutPolicy\.default has no part 'conect' \(did you mean 'connect'\?\)",
        ),
        ({"services": {"a": {"idle": -1}}}, ValueError, r"TimeoutPolicy\.services\['a'\]\.idle must be more than 0"),
        ({"services": {"a": {"idle": float("nan")}}}, ValueError, r"services\['a'\]\.idle must be more than 0"),
        ({"services": {"a": 5}}, TypeError, r"TimeoutPolicy\.services\['a'\] must be a Timeouts"),
        ({"services": ["a"]}, TypeError, r"TimeoutPolicy\.services must be a mapping of names, not list"),
        ({"services": {"a.B/C": {}}}, ValueError, r"services: 'a\.B/C' is no service: .* methods under methods"),
        ({"services": {"/a.B": {}}}, ValueError, r"'/a\.B' is no service"),
        ({"services": {"": {}}}, ValueError, r"'' is no service: a name is not empty"),
        ({"services": {"a b": {}}}, ValueError, r"'a b' is no service: .* no spaces"),
        ({"services": {"a.*": {}}}, ValueError, r"'a\.\*' is no service: there are no wildcards"),
        ({"services": {5: {}}}, TypeError, r"the name of a service must be a string, not int \(5\)"),
        ({"methods": {"a.B": {}}}, ValueError, r"methods: 'a\.B' is no method: give service and method such as"),
        ({"methods": {"/a.B": {}}}, ValueError, r"'/a\.B' is no method"),
        ({"methods": {"a.B/": {}}}, ValueError, r"'a\.B/' is no method"),
        ({"methods": {"//C": {}}}, ValueError, r"'//C' is no method"),
        ({"methods": {"a/b": {}, "/a/b": {}}}, ValueError, r"TimeoutPolicy\.methods has two entries for 'a/b'"),
        ({"name": 5}, TypeError, r"TimeoutPolicy\.name must be a string, not int"),
    ],
)
def test_what_is_wrong_is_named(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TimeoutPolicy(**arguments)
