"""The director's end of a node: starts it, commands it, hears what it reports, freezes it, and sees that it dies.

Every wait has a limit. When one passes, or the process ends, the error names the process and shows the end of what it wrote to
its standard error.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

PATIENCE = 10.0
LAST_WORDS = 1_500
Report = dict[str, Any]


class ChildError(Exception):
    """A process of the demo did not do what it was asked to in time, or died."""


class Child:
    """One node.

    Args:
        name: The service, as messages call it.
        command: The command line.
        environment: Its whole environment.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._numbers = itertools.count(1)
        self._reports: list[Report] = []
        self._news = threading.Condition()
        self._ended = False
        self._stderr = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - closed by kill()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=dict(environment),
            bufsize=0,
        )
        self._reader = threading.Thread(target=self._read, name=f"reports of {name}", daemon=True)
        self._reader.start()

    def ask(self, command: str, **arguments: Any) -> Report:
        """Give a command and return the answer.

        Raises:
            ChildError: no answer within ``PATIENCE`` seconds.
        """
        number = next(self._numbers)
        line = json.dumps({"number": number, "command": command, "arguments": arguments}) + "\n"
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode())
        except OSError as error:
            raise ChildError(self._describe(f"does not take commands ({error})")) from error
        return self.expect("done", number=number, doing=f"answer {command!r}")

    def expect(self, kind: str, *, patience: float = PATIENCE, doing: str = "", **facts: Any) -> Report:
        """Return the first report of ``kind`` with these ``facts``, waiting for it.

        Raises:
            ChildError: there is none within ``patience`` seconds, or the process ended.
        """
        report = self.find(kind, patience=patience, **facts)
        if report is None:
            what = "ended before it could" if self._ended else f"did not within {patience:g} s"
            raise ChildError(self._describe(f"{what} {doing or f'report {kind!r}'}"))
        return report

    def find(self, kind: str, *, patience: float, since: float = 0.0, **facts: Any) -> Report | None:
        """Return the first report of ``kind`` from the instant ``since`` on with these ``facts``; ``None`` if none comes."""
        give_up = monotonic() + patience
        with self._news:
            while True:
                for report in self._matching(kind, since, facts):
                    return report
                if self._ended or not self._news.wait(give_up - monotonic()):
                    return next(self._matching(kind, since, facts), None)

    def reports(self, kind: str, *, since: float = 0.0) -> list[Report]:
        """Return all reports of ``kind`` so far that tell of instants from ``since`` on."""
        with self._news:
            return list(self._matching(kind, since, {}))

    def freeze(self) -> float:
        """Stop the process where it is, as a long garbage collection or a paused machine would; return the instant."""
        at = monotonic()
        os.kill(self._process.pid, signal.SIGSTOP)
        return at

    def thaw(self) -> float:
        """Let the process go on; return the instant."""
        at = monotonic()
        os.kill(self._process.pid, signal.SIGCONT)
        return at

    def kill(self) -> None:
        """End the process, frozen or not, and reap it. Idempotent."""
        assert self._process.stdin is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._reader.join(PATIENCE)
        self._stderr.close()

    def _matching(self, kind: str, since: float, facts: Mapping[str, Any]) -> Iterator[Report]:
        for report in self._reports:
            if report["kind"] == kind and report["at"] >= since and facts.items() <= report.items():
                yield report

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._hear(json.loads(line))
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _hear(self, report: Report) -> None:
        with self._news:
            self._reports.append(report)
            self._news.notify_all()

    def _describe(self, what: str) -> str:
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - LAST_WORDS))
        said = self._stderr.read().decode(errors="replace").strip()
        return f"the process {self.name!r} {what}" + (f"; it last said:\n{said}" if said else "")


@contextmanager
def children(names: Iterable[str], environment: Mapping[str, str]) -> Iterator[dict[str, Child]]:
    """Start a node per name, all at once; kill them all at the end of the block, however it ends."""
    started: dict[str, Child] = {}
    try:
        for name in names:
            command = [sys.executable, "-m", "grpc_heartbeat.demo.node", name]
            started[name] = Child(name, command, environment)
        yield started
    finally:
        for child in started.values():
            child.kill()
