"""How the director and the processes of the benchmark talk: an order is a line of words, its answer a line of JSON."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

PATIENCE = 300.0
"""Seconds after which a process that does not answer is given up."""


def answer(**facts: Any) -> None:
    """Answer an order."""
    print(json.dumps(facts), flush=True)


class NoAnswerError(RuntimeError):
    """A process of the benchmark did not answer in time."""


class Worker:
    """A process of the benchmark, seen from its director.

    Args:
        patience: Seconds within which each order must be answered.
    """

    def __init__(
        self,
        module: str,
        *arguments: object,
        core: int | None = None,
        environment: Mapping[str, str],
        patience: float = PATIENCE,
    ) -> None:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self._name = " ".join(command[2:])
        self._patience = patience
        self.pid = self._process.pid
        pin(core, self.pid)
        try:
            self.first = self._hear("its start")
        except NoAnswerError:
            self.close()
            raise

    def ask(self, order: str, *words: object) -> dict[str, Any]:
        """Give an order and return its answer.

        Raises:
            RuntimeError: the process has ended.
            NoAnswerError: it does not answer.
        """
        assert self._process.stdin is not None
        try:
            print(order, *words, file=self._process.stdin, flush=True)
        except BrokenPipeError as error:
            raise RuntimeError(f"{self._name} has ended before {order!r}") from error
        return self._hear(" ".join(map(str, (order, *words))))

    def close(self) -> None:
        """End the process, whatever it holds. Thousands of streams need no ceremony."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _hear(self, order: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:  # an answer is one line, so nothing of it is buffered here before
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(self._patience):
                raise NoAnswerError(f"{self._name} did not answer {order!r} within {self._patience:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} has ended with {self._process.wait(10)}")
        heard: dict[str, Any] = json.loads(line)
        return heard


@contextmanager
def worker(
    module: str,
    *arguments: object,
    core: int | None = None,
    environment: Mapping[str, str] | None = None,
    patience: float = PATIENCE,
) -> Iterator[Worker]:
    """Run a process for the length of the block. Its first answer, without an order, is ``first``."""
    running = Worker(module, *arguments, core=core, environment=environment or {}, patience=patience)
    try:
        yield running
    finally:
        running.close()


def cores() -> tuple[int | None, int | None]:
    """Return a core for the subject and one for its peer; ``None``: wherever the kernel likes, if there is but one."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


def pin(core: int | None, process: int = 0) -> None:
    """Let a process, and what it will start, run on one core only."""
    if core is not None:
        os.sched_setaffinity(process, {core})
