"""``grpc-heartbeat options``: files, places, exit status, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grpc_heartbeat.cli import main
from grpc_heartbeat.cli.options.files import MAX_BYTES, WrongFile, read
from grpc_heartbeat.options import PROFILES, Enforcement, client_options, server_options
from tests.cli.conftest import command_environment, command_line

BAD_CLIENT = """\
# what a well-known project shipped
grpc.keepalive_time_ms: 10000

grpc.http2.min_recv_ping_interval_without_data_ms: 5000
"""
GOOD_SERVER = {"grpc.http2.min_ping_interval_without_data_ms": 5000, "grpc.keepalive_time_ms": 60_000}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(name: str, content: object) -> str:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
        return str(path)

    return written


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main(["options", "check", *arguments])
    return status, capsys.readouterr().out


def test_a_finding_has_its_file_and_line(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    client, server = write("client.yaml", BAD_CLIENT), write("server.json", GOOD_SERVER)
    status, out = check(capsys, client, server)
    lines = out.splitlines()
    assert status == 1
    assert f"{client}:4: error [unknown-option] grpc.http2.min_recv_ping_interval_without_data_ms: gRPC knows no" in out
    assert "    Write grpc.http2.min_ping_interval_without_data_ms, which is an option of the server" in lines
    assert f"{server}:3: warning [frozen-peer] grpc.keepalive_time_ms:" in out
    assert f"{client}:2: warning [pings-throttled] after 2 PINGs" in out
    assert lines[-1] == "1 error, 3 warnings"
    assert any(line.startswith("predicted: a quiet call survives") for line in lines)


def test_json_has_the_same_and_more(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    client = write("client.yaml", BAD_CLIENT)
    status, out = check(capsys, client, write("server.json", {}), "--json")
    data = json.loads(out)
    found = {finding["rule"]: finding for finding in data["findings"]}
    assert (status, data["ok"]) == (1, False)
    assert (found["unknown-option"]["file"], found["unknown-option"]["line"]) == (client, 4)
    assert found["unknown-option"]["suggestion"] == "grpc.http2.min_ping_interval_without_data_ms"
    assert (found["slow-server"]["line"], found["slow-server"]["severity"]) == (1, "note")
    assert data["prediction"]["in_call"]["outcome"] == "goaway"


@pytest.mark.parametrize("profile", PROFILES)
def test_what_the_builders_make_passes(profile: Any, write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    client, server = write("c.json", client_options(profile)), write("s.json", dict(server_options(profile)))
    status, out = check(capsys, client, server, "--strict", "--detect-within", "300")
    assert (status, out.splitlines()[-1]) == (0, "0 errors, 0 warnings")


def test_warnings_count_when_asked(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    server = write("server.yaml", "grpc.max_connection_age_ms: 60000\n")
    assert check(capsys, "-", server)[0] == 0
    assert check(capsys, "-", server, "--strict")[0] == 1


def test_detection_in_time(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    client = write("client.json", client_options(keepalive_time=30, keepalive_timeout=10))
    server = write("server.json", server_options())
    assert check(capsys, client, server, "--detect-within", "40")[0] == 0
    status, out = check(capsys, client, server, "--detect-within", "39.9")
    assert status == 1
    assert "host gone: noticed after 40 s, later than the 39.9 s that are asked for" in out
    with pytest.raises(SystemExit, match="2"):
        main(["options", "check", client, "--detect-within", "-1"])


BOTH = """\
client:
  - [grpc.keepalive_time_ms, 3000]
  - grpc.http2.max_pings_without_data: 0
  - [grpc.keepalive_permit_without_calls, 1]
server:
  enforcement: {min_interval: 5}
"""


def test_one_file_for_both_ends_and_a_foreign_server(write: Any) -> None:
    source = read(write("both.yml", BOTH), "-")
    assert source.client == [
        ("grpc.keepalive_time_ms", 3000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
    assert source.server == Enforcement(min_interval=5)
    assert [source.places["client", entry][1] for entry in (0, 1, 2)] == [2, 3, 4]


def test_yaml_keeps_types_and_double_keys(write: Any) -> None:
    text = "a: 1\nb: 1.5\nc: yes\nd: '1'\ne: null\na: 2\nf: [1, {g: 2}]\n"
    source = read(write("client.yaml", text), "-")
    assert source.client == [("a", 1), ("b", 1.5), ("c", True), ("d", "1"), ("e", None), ("a", 2), ("f", [1, {"g": 2}])]
    assert source.places["client", 5][1] == 6


def test_json_keeps_lines_too(write: Any) -> None:
    text = '{"client": {\n\n"a": 1,\n"b": "x\\"}",\n "a": [1, 2.5, null, {"c": true}]},\n "server": {}}'
    source = read(write("both.json", text), "-")
    assert source.client == [("a", 1), ("b", 'x"}'), ("a", [1, 2.5, None, {"c": True}])]
    assert [source.places["client", entry][1] for entry in (0, 1, 2)] == [3, 4, 5]
    assert source.server == []


WRONG = [
    ("a.yaml", "a: [1\n", ":2: not YAML: "),
    ("a.yaml", "", ":1: the file is empty"),
    ("a.yaml", "a: 1\n---\nb: 2\n", ":2: not YAML: but found another document"),
    ("a.yaml", "a: !!python/object:os.system 1\n", ":1: not YAML: could not determine a constructor"),
    ("a.yaml", "a: !!bool x\n", ":1: not YAML: "),
    ("a.yaml", "a: !!timestamp x\n", ":1: not YAML: "),
    ("a.yaml", "a: 1\n? [b]\n: 2\n", ":2: a name is one word"),
    ("a.yaml", "a: &x [1]\nb: *x\n", ":1: aliases are not understood"),
    ("a.yaml", "a: " + "[" * 40 + "]" * 40, ":1: nested too deeply"),
    ("a.yaml", "3\n", ":1: options are a mapping"),
    ("a.yaml", "- a\n", ":1: an entry of a list of options is [name, value]"),
    ("a.yaml", "a: 1\n- b\n", ":2: not YAML: "),
    ("a.yaml", "client: 3\n", ":1: client and server must be mappings"),
    ("a.json", '{"a": 1,\n}', ":2: not JSON: "),
    ("a.json", "[" * 40 + "]" * 40, ":1: nested too deeply"),
    ("a.json", "[" * 100_000, ":1: not JSON: "),
    ("a.toml", "", ": the name of a file of options ends in .yaml, .yml or .json"),
]


@pytest.mark.parametrize(("name", "text", "message"), WRONG)
def test_a_file_that_is_wrong(
    name: str, text: str, message: str, write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(name, text)
    assert main(["options", "check", file]) == 2
    assert f"grpc-heartbeat: {file}{message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("enforcement: 5\n", ":1: enforcement must be a mapping"),
        ("enforcement:\n  min_time: 5\n", ":2: enforcement has no 'min_time'"),
        ("enforcement:\n  min_interval: soon\n", ":2: Enforcement.min_interval must be a number of seconds"),
    ],
)
def test_an_enforcement_that_is_wrong(text: str, message: str, write: Any) -> None:
    file = write("server.yaml", text)
    with pytest.raises(WrongFile) as caught:
        read("-", file)
    assert str(caught.value).startswith(file + message)


def test_files_that_cannot_be_read(tmp_path: Path, write: Any) -> None:
    for client, message in (
        (str(tmp_path / "absent.yaml"), "No such file"),
        (write("large.yaml", "#" * (MAX_BYTES + 1)), "too large"),
        ("-", "nothing to check"),
    ):
        with pytest.raises(WrongFile, match=message):
            read(client, "-")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(WrongFile, match="not UTF-8"):
        read(str(tmp_path / "latin.yaml"), "-")
    both = write("both.json", {"client": {}, "server": {}})
    with pytest.raises(WrongFile, match="the options of the server are given twice"):
        read(both, write("server.json", {}))


def test_without_pyyaml_the_extra_is_named(
    write: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert main(["options", "check", write("a.yaml", "a: 1\n")]) == 2
    assert "grpc-heartbeat[policy]" in capsys.readouterr().err
    assert main(["options", "check", write("a.json", client_options(keepalive_time=None))]) == 0


def test_control_characters_do_not_reach_the_terminal(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    _, out = check(capsys, write("a.json", {"grpc.\u001b[2Jx": 1}))
    assert "\u001b" not in out
    assert "grpc.?[2Jx" in out


def test_show_a_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options", "show", "--profile", "behind-proxy"]) == 0
    out = capsys.readouterr().out
    assert PROFILES["behind-proxy"].summary in out
    assert "grpc.max_connection_age_grace_ms" in out
    assert main(["options", "show", "--profile", "mobile", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["end"] for row in rows} == {"client", "server"}
    assert {row["option"]: row["value"] for row in rows if row["end"] == "server"} == dict(server_options("mobile"))
    assert all(row["source"].endswith(".h") and row["what it does"] for row in rows)


def test_show_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options", "show", "--json"]) == 0
    public = capsys.readouterr().out.splitlines()
    assert main(["options", "show", "--json", "--all"]) == 0
    assert len(public) < len(capsys.readouterr().out.splitlines())
    assert main(["options", "show"]) == 0
    assert "grpc.dscp" in capsys.readouterr().out


@pytest.mark.slow
def test_the_real_command(write: Any) -> None:
    command = command_line("options", "check", write("client.yaml", BAD_CLIENT))
    done = subprocess.run(command, env=command_environment(), capture_output=True, text=True, timeout=45)
    assert (done.returncode, done.stderr) == (1, "")
    assert "unknown-option" in done.stdout
