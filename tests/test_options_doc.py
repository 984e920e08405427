"""docs/options.md: its programs run, its tables are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from grpc_heartbeat.options.profiles import PROFILES
from tools import generate_option_table

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "options.md").read_text()


def block(name: str) -> str:
    found = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert found, f"docs/options.md has no example {name!r}"
    return found[1]


@pytest.mark.parametrize("name", ["build", "check", "service-config"])
def test_an_example_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block(name), f"docs/options.md: {name}", "exec"), {})
    assert ("GOAWAY" in capsys.readouterr().out) == (name == "check")


def test_the_table_of_options_is_fresh() -> None:
    assert generate_option_table.page(TEXT) == TEXT, "run tools/generate_option_table.py"


def test_every_rule_is_described() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "grpc_heartbeat" / "options").glob("rules_*.py"))
    rules = set(re.findall(r'find\(\s*(?:"(?:error|warning|note)"|severity), "([a-z-]+)"', sources))
    rules |= {"too-many-pings", "pings-without-calls"}
    described = set(re.findall(r"`([a-z-]+)`", TEXT.split("| rule | what it finds |")[1].split("\n\n")[0]))
    assert len(rules) > 25
    assert described == rules


@pytest.mark.parametrize("name", PROFILES)
def test_the_table_of_profiles_is_right(name: str) -> None:
    (row,) = [line for line in TEXT.splitlines() if line.startswith(f"| `{name}` |")]
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    profile = PROFILES[name]
    connect = "20 s (gRPC's)" if profile.connect_timeout is None else f"{profile.connect_timeout:g} s"
    assert cells[:6] == [
        f"{profile.keepalive_time:g} s",
        f"{profile.keepalive_timeout:g} s",
        "yes" if profile.permit_without_calls else "no",
        connect,
        f"{profile.server_keepalive_time:g} s",
        f"{profile.min_client_interval:g} s",
    ]
