"""Policy files: what they say is what the policy holds, and what is wrong in one is named with its line."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grpc_heartbeat import TimeoutPolicy
from grpc_heartbeat.core.limits import PARTS
from grpc_heartbeat.policy_file import MAX_BYTES, read

EXAMPLE = """\
# How long the shop waits.
default: {connect: 3s, header: 2, total: 8s}
services:
  shop.Orders:
    total: 1m
    idle: 250ms
methods:
  /shop.Orders/Watch: {total: none, idle: 0.5h}
  shop.Orders/Place: {header: null, write: "1.5 s"}
name: shop
"""
EXPECTED = TimeoutPolicy(
    {"connect": 3, "header": 2, "total": 8},
    services={"shop.Orders": {"total": 60, "idle": 0.25}},
    methods={"shop.Orders/Watch": {"total": None, "idle": 1800}, "shop.Orders/Place": {"header": None, "write": 1.5}},
    name="shop",
)


def load(folder: Path, text: str | bytes, suffix: str = ".yaml") -> TimeoutPolicy:
    path = folder / f"policy{suffix}"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return TimeoutPolicy.load(path)


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".YAML"])
@pytest.mark.parametrize("change", [lambda text: text, lambda text: "\ufeff" + text.replace("\n", "\r\n")])
def test_a_yaml_file_says_a_policy(tmp_path: Path, suffix: str, change: Any) -> None:
    assert load(tmp_path, change(EXAMPLE), suffix) == EXPECTED


def test_a_json_file_says_the_same(tmp_path: Path) -> None:
    assert load(tmp_path, json.dumps(yaml.safe_load(EXAMPLE), indent=2), ".json") == EXPECTED
    assert load(tmp_path, json.dumps(yaml.safe_load(EXAMPLE), separators=(",", ":")), ".json") == EXPECTED
    assert TimeoutPolicy.load(str(tmp_path / "policy.json")) == EXPECTED


@pytest.mark.parametrize("text", ["{}", "default:", "services: ~\nmethods: {}\ndefault: null"])
def test_sections_may_be_left_empty(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == TimeoutPolicy()


words = st.text("abcXYZ_09", min_size=1, max_size=8)
services = st.builds(".".join, st.lists(words, min_size=1, max_size=3))
methods = st.builds("{}/{}".format, services, words)
parts = st.dictionaries(st.sampled_from(PARTS), st.none() | st.floats(0.001, 1e8) | st.integers(1, 10**8))
policies = st.fixed_dictionaries(
    {},
    optional={
        "default": parts,
        "services": st.dictionaries(services, parts),
        "methods": st.dictionaries(methods, parts),
        "name": words.filter(lambda word: not word.isdigit()),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies, st.booleans())
def test_what_is_written_is_read(tmp_path: Path, policy: dict[str, Any], flow: bool) -> None:
    expected = TimeoutPolicy(**policy)
    assert load(tmp_path, yaml.safe_dump(policy, default_flow_style=flow)) == expected
    assert load(tmp_path, json.dumps(policy), ".json") == expected


def wrong(folder: Path, text: str | bytes, suffix: str = ".yaml") -> str:
    with pytest.raises(ValueError, match=r"policy\.\w+:\d+: ") as caught:
        load(folder, text, suffix)
    assert caught.value.__cause__ is None
    return str(caught.value).removeprefix(f"{folder}/")


SEMANTIC = [
    ("default: {total: -3s}", 1, "default.total must be more than 0 and at most 1e+08 seconds; got -3.0"),
    ("default:\n  total: 0", 2, "default.total must be more than 0"),
    (
        "default:\n  total: soon",
        2,
        "default.total must be a number of seconds such as 2.5, a duration such as 250ms, 3s, 2m",
    ),
    ("default:\n  total: 3 days", 2, "or none for no limit; got '3 days'"),
    ("default:\n  total: 1e999", 2, "default.total must be more than 0"),
    ("default:\n  total: .nan", 2, "got '.nan'"),
    ("default:\n  total: 1_000", 2, "got '1_000'"),
    ('default:\n  total: "8"', 2, "got '8'"),
    ("default:\n  total: true", 2, "got 'true'"),
    ("default:\n  total: {seconds: 3}", 2, "got a mapping"),
    (
        "default:\n  conect: 3s",
        2,
        "default has no part 'conect' (did you mean 'connect'?); the parts are total, connect,",
    ),
    ("default: 8s", 1, "default must be a mapping with the parts total, connect, header, idle, write; got '8s'"),
    (
        "defaults: {}",
        1,
        "there is no key 'defaults' (did you mean 'default'?); default, services, methods, name are the keys",
    ),
    ("name: 5", 1, "name must be text; got 5.0"),
    ("name:", 1, "name must be text; got nothing"),
    ("services: 8", 1, "services must be a mapping with the full name of each service; got 8.0"),
    ("services:\n  a.B/C: {}", 2, "'a.B/C' is no service"),
    (
        "services:\n  a.B:",
        2,
        "services['a.B'] must be a mapping with the parts total, connect, header, idle, write; got nothing",
    ),
    ("services:\n  a.B:\n    idle: 3s\n    idle: 4s", 4, "services['a.B'] has the key 'idle' already, on line 3"),
    ("methods:\n  a.B: {}", 2, "'a.B' is no method: give service and method such as 'shop.Orders/Place'"),
    ("methods:\n  a/b: {}\n  # comment\n  a/b: {}", 4, "methods has the key 'a/b' already, on line 2"),
    ("methods:\n  a/b: {}\n  /a/b: {}", 3, "methods has an entry for 'a/b' already, on line 2"),
    ("default: {}\nservices: {}\ndefault: {}", 3, "a policy has the key 'default' already, on line 1"),
    ("just text", 1, "a policy must be a mapping with the keys default, services, methods, name; got 'just text'"),
    (f"name: {{}}\n{'x' * 500}: 1", 1, "name must be text; got a mapping"),
    (f"default: {{total: {'x' * 500}}}", 1, f"got '{'x' * 59}…"),
]


@pytest.mark.parametrize(("text", "line", "message"), SEMANTIC)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    found = wrong(tmp_path, text)
    assert found.startswith(f"policy.yaml:{line}: ")
    assert message in found


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "the file is empty"),
        ("# only a comment\n", 1, "the file is empty"),
        ("default:\n\ttotal: 3s", 2, "not YAML: found character '\\t' that cannot start any token; indent with spaces"),
        ("default: {total: 3s", 1, "not YAML: expected ',' or '}'"),
        ("default: {}\n'", 2, "not YAML: "),
        ("default:\n  total: \x07", 2, "not YAML: the character U+0007 is not allowed"),
        ("default: {}\n---\ndefault: {}", 2, "a policy is one document; here begins another"),
        ("default:\n  - total: 3s", 2, "a policy has no lists"),
        ("default:\n  total: !!python/object/apply:os.system [x]", 2, "a policy has no lists"),
        ("default:\n  total: !!python/name:os.system x", 2, "tags are not understood"),
        (
            "default: &a {total: 3s}\nservices:\n  a.B: *a",
            3,
            "aliases are not understood: write out what *a stands for",
        ),
        ("default:\n  <<: {total: 3s}", 2, "default has no part '<<'"),
        ("? {a: b}\n: c", 1, "a key must be a plain word"),
        ("a: {b: {c: {d: {e: 1}}}}", 1, "nested too deeply: a policy has 3 levels"),
    ],
)
def test_what_is_no_policy_in_yaml_is_refused_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    found = wrong(tmp_path, text)
    assert found.startswith(f"policy.yaml:{line}: ")
    assert message in found


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (" \n", 1, "the file is empty"),
        ('{\n"default": {"total": 3,}}', 2, 'expected a key in double quotes (")'),
        ('{\n"default" {}}', 2, "not JSON: expected ':', found '{'"),
        ('{"default": {"total": 3}\n', 2, "not JSON: expected '}', found 'the end of the file'"),
        ('{"default": {}}\n\n{}', 3, "not JSON: something follows the policy"),
        ('{"default":\n', 2, "not JSON: expecting value"),
        ('{"default": {"total":\n nope}}', 2, "not JSON: expecting value"),
        ('{"default": {"total":\n "3s}}', 2, "not JSON: unterminated string"),
        ('{"default": {"total":\n NaN}}', 2, "NaN is no number of seconds"),
        ('{"default": {"total":\n -Infinity}}', 2, "-Infinity is no number of seconds"),
        ('{"default": {"total":\n true}}', 2, "default.total must be a number of seconds such as 2.5"),
        ('{"default": {"total":\n 1e999}}', 2, "default.total must be more than 0"),
        (f'{{"default": {{"total":\n {"9" * 400}}}}}', 2, "default.total must be more than 0"),
        ('{"default":\n ["total"]}', 2, "a policy has no lists"),
        ('{"a":\n{"b":\n{"c":\n{}}}}', 4, "nested too deeply: a policy has 3 levels"),
        ('{"default": {\n"idle": 1,\n"idle": 2}}', 3, "default has the key 'idle' already, on line 2"),
        ('{"methods":\n {"a.B":\n {}}}', 2, "'a.B' is no method"),
        ("5", 1, "a policy must be a mapping"),
    ],
)
def test_what_is_no_policy_in_json_is_refused_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    found = wrong(tmp_path, text, ".json")
    assert found.startswith(f"policy.json:{line}: ")
    assert message in found


@pytest.mark.skipif(not hasattr(sys, "get_int_max_str_digits"), reason="this Python converts numbers of any length")
def test_a_number_that_python_does_not_convert_is_refused(tmp_path: Path) -> None:
    assert "the number is too long" in wrong(tmp_path, f'{{"default": {{"total": {"9" * 5000}}}}}', ".json")


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, suffix: str) -> None:
    found = wrong(tmp_path, b"{\n\xff}", suffix)
    assert found == f"policy{suffix}:2: not UTF-8: byte 0xFF at offset 2"


@pytest.mark.parametrize(
    "hostile",
    [
        "#" * (MAX_BYTES + 1),
        "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a, *a, *a]\n" for n in range(1000)),
        "[" * 100_000,
        "{a: " * 50_000,
        "? " * 50_000,
        "default: {total: " + "9" * 200_000 + "}",
        "&a {default: *a}",
    ],
    ids=["too large", "alias bomb", "deep list", "deep mapping", "deep keys", "long number", "recursion"],
)
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_hostile_file_is_refused_soon(tmp_path: Path, hostile: str, suffix: str) -> None:
    started = time.monotonic()
    wrong(tmp_path, hostile, suffix)
    assert time.monotonic() - started < 10


@given(st.binary(max_size=60) | st.text("{}[]:,\"'&*!?|>-#\n\t ae19.%@~", max_size=60).map(str.encode))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_whatever_is_in_a_file_it_is_read_or_refused_by_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    try:
        read_back = load(tmp_path, content, suffix)
    except ValueError as error:
        refusal = str(error)
    else:
        assert read_back == load(tmp_path, content, suffix)
        return
    assert re.match(rf"{re.escape(str(tmp_path))}/policy{suffix}:[1-9]\d*: ", refusal)


def test_the_largest_file_is_read(tmp_path: Path) -> None:
    text = EXAMPLE + "#" * (MAX_BYTES - len(EXAMPLE))
    assert load(tmp_path, text) == EXPECTED
    assert wrong(tmp_path, text + "#") == "policy.yaml:1: the file is too large for a policy: more than 256 KiB"


@pytest.mark.parametrize("name", ["policy", "policy.toml", "policy.yaml.bak"])
def test_another_kind_of_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: the name of a policy file ends in \.yaml, \.yml or \.json"):
        read(tmp_path / name)


def test_a_missing_file_is_pythons_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        TimeoutPolicy.load(tmp_path / "nowhere.json")


def test_without_pyyaml_the_extra_is_named_and_json_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=r"pip install 'grpc-heartbeat\[policy\]', or write the policy as JSON"):
        load(tmp_path, EXAMPLE)
    assert load(tmp_path, '{"default": {"total": "8s"}}', ".json") == TimeoutPolicy({"total": 8})
