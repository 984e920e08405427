"""``grpc-heartbeat contract``: lines, exit status, JSON, and a sentence for whatever cannot be read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grpc_heartbeat import contract
from grpc_heartbeat.cli import main
from grpc_heartbeat.cli.contract import files
from tests.cli.conftest import command_environment, command_line
from tests.contract import shop

POLICY = """\
default: {connect: 1, total: 1s}
methods:
  shop.Orders/Plaice: {total: 2}
  shop.Orders/Watch: {idle: 1m}
"""
MEASURED = {shop.PLACE: {"p50": 0.05, "p95": 0.3, "p99": 1.2, "count": 12000}}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(name: str, content: str | bytes | dict[str, Any]) -> str:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
        return str(path)

    return written


def check(
    capsys: pytest.CaptureFixture[str], *arguments: str, descriptors: str = str(shop.FILE)
) -> tuple[int, list[str]]:
    status = main(["contract", "check", "--descriptors", descriptors, *arguments])
    captured = capsys.readouterr()
    assert captured.err == ""
    return status, captured.out.splitlines()


def test_what_is_right_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(capsys, "--baseline", str(shop.FILE), "--strict") == (0, ["3 methods, 0 errors, 0 warnings"])


def test_everything_is_said_on_lines_with_file_and_line(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    policy, observed = write("policy.yaml", POLICY), write("observed.json", MEASURED)
    baseline = write("baseline.binpb", shop.changed(total_ms=5000))
    status, lines = check(capsys, "--policy", policy, "--observed", observed, "--baseline", baseline)
    assert status == 1
    assert lines == [
        f"{policy}:1: error[total-below-observed]: shop.Orders/Place: the policy's total of 1 s is shorter than the observed "
        "p99 of 1.2 s; set total above 1.2, or was 10 meant?",
        f"{policy}:3: error[unknown-method]: shop.Orders/Plaice: no descriptor has this method (did you mean "
        "'shop.Orders/Place'?); write its full name as the .proto file has it, or remove it",
        f"{policy}:4: error[longer-than-contract]: shop.Orders/Watch: the idle limit of 60 s (policy:shop.Orders/Watch) is "
        "longer than its contract's 30 s; set idle to at most 30",
        "shop.proto:13: error[total-shortened]: shop.Orders/Place: its total was 5 s in the baseline and is 2 s: calls that "
        "succeeded may fail; keep it, or agree with the clients and renew the baseline",
        f"{policy}:1: warning[beyond-total]: shop.Orders/Import: the connect limit of 1 s (policy:default) can end no call: "
        "the total is 1 s (policy:default); set connect below the total, or to none",
        f"{policy}:1: warning[beyond-total]: shop.Orders/Place: the connect limit of 1 s (policy:default) can end no call: "
        "the total is 1 s (policy:default); set connect below the total, or to none",
        "shop.proto:13: warning[promise-broken]: shop.Orders/Place: it promises a p99 of 800 ms; the observed p99 of 1.2 s is "
        "longer; make it faster, or promise less",
        "3 methods, 4 errors, 3 warnings",
    ]  # fmt: skip


def test_json_says_the_same(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    status, (line,) = check(capsys, "--json", descriptors=write("a.binpb", shop.changed(total_ms=200, p99_ms=1500)))
    assert status == 1
    assert json.loads(line) == {
        "ok": False,
        "methods": 3,
        "errors": 1,
        "warnings": 0,
        "findings": [
            {
                "severity": "error",
                "rule": "total-below-p99",
                "method": shop.PLACE,
                "message": "its total of 200 ms is shorter than the p99 that it promises, 1.5 s",
                "advice": "set total_ms above 1500, or was 2000 meant?",
                "file": "shop.proto",
                "line": 13,
            }
        ],
    }
    assert json.loads(check(capsys, "--json")[1][0])["ok"] is True


def test_warnings_count_when_asked(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    policy = write("policy.json", {"methods": {shop.PLACE: {"total": 2, "header": 1}}})
    assert check(capsys, "--policy", policy)[0] == 0
    assert check(capsys, "--policy", policy, "--strict")[0] == 1


def test_several_files_of_descriptors(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    other = shop.descriptors()
    other.file[0].package = "cellar"
    path = write("cellar.binpb", other.SerializeToString())
    assert check(capsys, "--descriptors", path) == (0, ["6 methods, 0 errors, 0 warnings"])


WRONG: list[tuple[str, str, str | bytes, str]] = [
    ("--descriptors", "a.binpb", b"\xff\xff", ": not a FileDescriptorSet, as `protoc --descriptor_set_out` writes it"),
    ("--descriptors", "a.binpb", b"", ": there are no methods in it; was it written by `protoc --descriptor_set_out`?"),
    ("--baseline", "b.binpb", b"{", ": not a FileDescriptorSet, as `protoc --descriptor_set_out` writes it"),
    ("--policy", "p.txt", "", ": the name of a policy file ends in .yaml, .yml or .json"),
    ("--policy", "p.yaml", "default:\n  conect: 3s\n", ":2: default has no part 'conect' (did you mean 'connect'?)"),
    ("--observed", "o.json", "[]", ":1: measurements must be an object of methods"),
    ("--observed", "o.json", "{\n", ":2: not JSON: "),
    ("--observed", "o.json", b"\xff", ": not UTF-8: invalid start byte at byte 0"),
    ("--observed", "o.json", '{"Place": {"p99": 1}}', ":1: 'Place' is no method"),
    ("--observed", "o.json", '{\n"a.B/C": 1}', ":2: 'a.B/C' must be an object of p50, p95, p99, count"),
    ("--observed", "o.json", '{"a.B/C": {"p50": 1}}', ":1: 'a.B/C' has no p99"),
    ("--observed", "o.json", '{"a.B/C": {"p99": null}}', ":1: 'a.B/C' has no p99"),
    ("--observed", "o.json", '{"a.B/C": {\n"cuont": 1}}', ":2: there is no 'cuont' (did you mean 'count'?)"),
    (
        "--observed",
        "o.json",
        '{"a.B/C": {"p99": "1s"}}',
        ":1: 'a.B/C': p99 must be a number of seconds, not str ('1s')",
    ),
    ("--observed", "o.json", '{"a.B/C": {"p99": 1, "p95": 2}}', ":1: 'a.B/C': p99 must be at least 2 "),
    ("--observed", "o.json", '{"a.B/C": {"p99": NaN}}', ":1: 'a.B/C': p99 must be at least 0 "),
    ("--observed", "o.json", '{"a.B/C": {"p99": 1},\n"/a.B/C": {"p99": 1}}', ":2: 'a.B/C' is given twice"),
]


@pytest.mark.parametrize(("option", "name", "content", "message"), WRONG)
def test_what_cannot_be_read_is_said_in_a_sentence(
    option: str, name: str, content: str | bytes, message: str, write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(name, content)
    first = [] if option == "--descriptors" else ["--descriptors", str(shop.FILE)]
    assert main(["contract", "check", *first, option, path]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"grpc-heartbeat: {path}{message}")
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize("option", ["--descriptors", "--baseline", "--policy", "--observed"])
def test_files_that_are_not_there(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "absent.json")
    assert main(["contract", "check", "--descriptors", str(shop.FILE), option, path]) == 2
    assert capsys.readouterr().err == f"grpc-heartbeat: {path}: No such file or directory\n"


def test_too_many_measurements(write: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    path = write("o.json", MEASURED)
    assert main(["contract", "check", "--descriptors", str(shop.FILE), "--observed", path]) == 2
    assert "too large for measurements: more than 0 MiB" in capsys.readouterr().err


def test_yaml_without_its_extra(
    write: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert main(["contract", "check", "--descriptors", str(shop.FILE), "--policy", write("p.yaml", POLICY)]) == 2
    assert "pip install 'grpc-heartbeat[policy]'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["check"], ["check", "--descriptors"], ["show"], ["nothing"]])
def test_a_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["contract", *arguments])
    assert "usage: grpc-heartbeat contract" in capsys.readouterr().err


TABLE = [
    ["method", "kind", "total", "header", "idle", "write", "p99", "declared", "at"],
    ["shop.Orders/Import", "many", "to", "one", "60", "s", "5", "s", "shop.proto:19"],
    ["shop.Orders/Place", "one", "to", "one", "nowhere"],
    ["shop.Orders/Watch", "one", "to", "many", "30", "s", "shop.proto:16"],
]


@pytest.mark.parametrize("rich", [True, False])
def test_the_table(rich: bool, write: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if not rich:
        for name in ("rich", "rich.table", "rich.console"):
            monkeypatch.setitem(sys.modules, name, None)
    assert main(["contract", "show", "--descriptors", write("a.binpb", shop.changed())]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == TABLE
    assert lines[0].index("declared at") == lines[1].index("shop.proto:19")


def test_the_table_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contract", "show", "--json", "--descriptors", str(shop.FILE)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[1] == {
        "method": shop.PLACE, "kind": "one to one", "declared": True, "total": 2.0, "header": 1.0, "idle": None,
        "write": None, "p99": 0.8, "place": "shop.proto:13",
    }  # fmt: skip
    assert main(["contract", "show", "--descriptors", "/nowhere"]) == 2


def test_the_folder_for_protoc(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contract", "include"]) == 0
    assert capsys.readouterr().out == f"{contract.include()}\n"


def test_names_of_strangers_cannot_write_on_the_terminal(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    strange = shop.descriptors()
    strange.file[0].service[0].method[0].name = "Pl\x1b[31mace"
    strange.file[0].service[0].method[0].ClearField("options")
    path = write("a.binpb", strange.SerializeToString())
    assert "Pl?[31mace: it has no contract" in check(capsys, descriptors=path)[1][0]
    assert main(["contract", "show", "--descriptors", path]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_the_real_command(write: Any) -> None:
    wrong = write("a.binpb", shop.changed(total_ms=200, p99_ms=1500))
    for path, status in ((str(shop.FILE), 0), (wrong, 1), ("/nowhere", 2)):
        command = command_line("contract", "check", "--descriptors", path)
        done = subprocess.run(command, env=command_environment(), capture_output=True, text=True, timeout=45)
        assert done.returncode == status
        assert "Traceback" not in done.stderr
