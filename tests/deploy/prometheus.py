"""A real Prometheus that scrapes the demo's processes and evaluates the shipped rules, at the pace of a test."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.files import PROMETHEUS, RULES
from tests.programs import free_ports, program

PACE = "500ms"
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def hurried(rules: str) -> str:
    """Return rules that look at seconds where the shipped ones look at minutes."""
    return re.sub(r"\bfor: \w+", "for: 1s", re.sub(r"\[\d+m\]", "[5s]", rules))


class Prometheus:
    """A running server, asked over HTTP."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **query: str) -> Any:
        """Return the ``data`` of an answer of the API."""
        address = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with _direct.open(address, timeout=10) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples that ``/api/v1/query`` answers with."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return result

    def firing(self, name: str) -> list[dict[str, str]]:
        """Return the labels of every firing alert of this name."""
        alerts = self.get("alerts")["alerts"]
        return [each["labels"] for each in alerts if each["state"] == "firing" and each["labels"]["alertname"] == name]

    def ready(self) -> bool:
        """Return whether it has begun to answer."""
        try:
            with _direct.open(f"{self._url}/-/ready", timeout=10):
                return True
        except (OSError, urllib.error.HTTPError):
            return False


def becomes(look: Callable[[], Any], what: str, patience: float = 15.0) -> Any:
    """Return what ``look`` returns, as soon as it is true.

    Raises:
        AssertionError: that takes longer than ``patience`` seconds.
    """
    give_up = time.monotonic() + patience
    while not (seen := look()):
        assert time.monotonic() < give_up, f"within {patience:g} s it did not come true that {what}"
        time.sleep(0.1)  # sleep: another process is asked again, it tells nothing by itself
    return seen


@contextmanager
def prometheus(folder: Path, ports: Sequence[int]) -> Iterator[Prometheus]:
    """Run a server that scrapes ``ports`` and evaluates the shipped rules, hurried."""
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text("utf-8"))
    configuration["global"] = {"scrape_interval": PACE, "evaluation_interval": PACE}
    (scrape,) = configuration["scrape_configs"]
    scrape["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration), "utf-8")
    for name in RULES:
        (folder / name).write_text(hurried((PROMETHEUS / name).read_text("utf-8")), "utf-8")
    (port,) = free_ports(1)
    command = [program("prometheus", "Debian: prometheus"), f"--config.file={folder / 'prometheus.yaml'}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    log = folder / "log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        server = Prometheus(port)
        try:
            becomes(lambda: process.poll() is not None or server.ready(), "Prometheus answers")
            assert process.poll() is None, log.read_text()
            yield server
        finally:
            process.kill()
