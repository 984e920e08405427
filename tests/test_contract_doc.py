"""docs/contract.md: its programs run, its output is what is printed, its tables are those of the code."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpc_heartbeat.cli import main
from grpc_heartbeat.testing.fault_plan import Fault
from grpc_heartbeat.v1 import timeouts_pb2
from tests.contract import shop
from tests.packaging import readme

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "contract.md").read_text()


def block(name: str) -> str:
    found = re.search(rf"<!-- example: {name} -->\n```\w+\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert found, f"docs/contract.md has no example {name!r}"
    return found[1]


def run(code: str, name: str) -> tuple[str, dict[str, Any]]:
    printed, names = io.StringIO(), {"__name__": "example"}
    with contextlib.redirect_stdout(printed):
        exec(compile(code, f"contract.md, {name}", "exec"), names)
    return printed.getvalue().strip(), names


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shop.binpb").write_bytes(shop.FILE.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_proto_is_the_one_that_was_compiled() -> None:
    assert block("proto") == shop.FILE.with_suffix(".proto").read_text()


def test_the_policy_is_made() -> None:
    output, names = run(readme.example("policy", "127.0.0.1:1", TEXT), "policy")
    names["channel"].close()
    assert f"prints `{output}`" in TEXT


def test_the_proof_holds() -> None:
    output, _ = run(block("proof"), "proof")
    assert f"prints `{output}`" in TEXT


def test_the_findings_are_those_that_are_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "policy.yaml").write_text(block("file"))
    (folder / "observed.json").write_text(json.dumps(json.loads(block("observed"))))
    (folder / "released.binpb").write_bytes(shop.FILE.read_bytes())
    (command,) = re.findall(r"^grpc-heartbeat (contract check .*)$", TEXT, re.MULTILINE)
    assert main(command.split()) == 1
    assert capsys.readouterr().out == block("findings")


def test_the_faults_are_injected() -> None:
    _, names = run(block("faults"), "faults")
    server, injector = names["server"], names["injector"]
    place: Any = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Orders", {"Place": place}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary("/shop.Orders/Place")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"")
    server.stop(None).wait()
    error: Any = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "injected by FaultPlan: no disk")
    assert f"`{error.details()}`" in TEXT
    assert injector.injected() == {"shop.Orders/Place": 1}


def test_every_rule_is_described_with_its_severity() -> None:
    core = ROOT / "grpc_heartbeat" / "core"
    sources = "".join((core / f"contract_{name}.py").read_text() for name in ("rules", "changes"))
    rules = set(re.findall(r'(?:"error"|"warning"|severity), f?"([a-z0-9{}-]+)"', sources))
    rules = rules - {"unknown-{kind}"} | {"unknown-method", "unknown-service"}
    table = TEXT.split("| rule | severity | what it finds |")[1].split("\n\n")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines()[2:]]
    assert {rule for names, _ in rows for rule in re.findall(r"`([a-z0-9-]+)`", names)} == rules
    assert len(rules) > 15
    for names, severities in rows:
        for rule in re.findall(r"`([a-z0-9-]+)`", names):
            if f'"error", "{rule}"' in sources:
                assert "error" in severities
            if f'"warning", "{rule}"' in sources:
                assert "warning" in severities


def test_the_fields_and_arguments_are_described() -> None:
    fields = [field.name for field in timeouts_pb2.TimeoutContract.DESCRIPTOR.fields]
    assert re.findall(r"^\| `(\w+_ms)` \|", TEXT, re.MULTILINE) == fields
    assert str(timeouts_pb2.TIMEOUT_FIELD_NUMBER) in TEXT
    table = TEXT.split("| `Fault(…)` | a call that is struck |")[1].split("\n\n")[0]
    described = {
        name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1:2][0] if line else "")
    }
    assert described == set(Fault.__dataclass_fields__)
