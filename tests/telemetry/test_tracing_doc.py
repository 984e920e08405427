"""docs/tracing.md: its program runs as it is, and its tables name what the spans really say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from grpc_heartbeat import telemetry
from grpc_heartbeat.demo.receiver import Receiver
from grpc_heartbeat.demo.traces import BEAT, complete, grow
from grpc_heartbeat.telemetry import deadline_facts
from grpc_heartbeat.telemetry.beat_context import BEAT_SPAN, OPEN_SPAN
from grpc_heartbeat.telemetry.deadline_facts import NAMESPACE

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tracing.md").read_text("utf-8")
_PROGRAM = re.compile(r"<!-- example: (\w+) -->\n```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PROGRAMS: dict[str, str] = dict(_PROGRAM.findall(PAGE))


def _table(heading: str) -> list[list[str]]:
    """Return the cells of the first table after ``heading``, without its head."""
    after = PAGE[PAGE.index(heading) :]
    lines = re.search(r"(?:^\|.*\n)+", after, re.MULTILINE)
    assert lines is not None
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in lines[0].splitlines()[2:]]


def test_the_program_sends_beats_with_every_attribute_that_the_page_names() -> None:
    with Receiver() as receiver:
        environment = {
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "no_grpc_proxy": "127.0.0.1",
        }
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAMS["tracing"]],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
        )
        spans = receiver.spans()
    assert done.returncode == 0, done.stderr
    beats = [trace for trace in grow(spans) if trace.beat]
    assert any(complete(trace) for trace in beats)
    said = {name for span in spans if span.name == BEAT for name in span.attributes}
    documented = set(re.findall(r"`([\w.]+)`", " ".join(row[0] for row in _table("### What a beat's spans say"))))
    assert documented == said


def test_the_sampler_is_set_as_the_page_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(telemetry, "sample_beats", asked.append, raising=False)
    exec(PROGRAMS["sampling"], {})
    (sampler,) = asked
    assert repr(sampler) == "BeatSampler(every=100, slow_factor=3)"


def test_the_facts_about_deadlines_are_called_so() -> None:
    named = set(re.findall(r"`…\.(\w+)`", PAGE)) | {
        name.removeprefix(NAMESPACE) for name in re.findall(r"grpc_heartbeat\.deadline\.\w+", PAGE)
    }
    assert len(named) == 6
    assert all(name in str(deadline_facts.__doc__) for name in named)


def test_the_operations_to_search_for_are_the_spans_names() -> None:
    operations = {row[1].strip("`") for row in _table("## 3. Find them") if "Keepalive" in row[1]}
    assert operations == {BEAT_SPAN, OPEN_SPAN}


def test_files_and_targets_that_the_page_names_exist() -> None:
    root = Path(__file__).resolve().parents[2]
    named = re.findall(r"tests/[\w/]+\.py", PAGE)
    assert named
    assert all((root / name).is_file() for name in named)
    makefile = (root / "Makefile").read_text("utf-8")
    for target in re.findall(r"\bmake ([a-z-]+)", PAGE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
