"""Time-out contracts as values: what a method declares, what was measured, and what a check finds.

Times are seconds. ``contract_rules`` and ``contract_changes`` judge them; ``grpc_heartbeat.contract`` reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from grpc_heartbeat.config import check_seconds
from grpc_heartbeat.core.limits import Part

Severity = Literal["error", "warning"]
Said = Literal["total", "header", "idle", "write", "p99"]

LIMITS: tuple[Part, ...] = ("total", "header", "idle", "write")
"""What a contract may limit. It cannot limit connecting: the server has no part in that."""
SAID: tuple[Said, ...] = ("total", "header", "idle", "write", "p99")
"""All that a contract may say."""

_NEAR = 1e-9
"""Share by which equal times may differ that were written in different units."""


def longer(one: float, other: float) -> bool:
    """Return whether ``one`` is longer than ``other``, by more than the rounding of their units."""
    return one > other * (1 + _NEAR)


def same(one: float | None, other: float | None) -> bool:
    """Return whether two times are equal but for the rounding of their units."""
    if one is None or other is None:
        return one is other
    return not longer(one, other) and not longer(other, one)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is written.

    Args:
        file: The file's name, as it was given or, for a ``.proto`` file, as its importers say it.
        line: From 1; ``None`` where only the file is known.
    """

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class MethodContract:
    """What one method declares. Times are seconds; ``None`` says nothing.

    Args:
        method: Its full name without a leading slash, such as ``"shop.Orders/Place"``.
        declared: Whether it has a contract at all.
        total: From the start of a call to its end.
        header: From the connection until the server has accepted the call.
        idle: For one response message.
        write: For one request message to be taken.
        p99: What the server promises for 99 of 100 calls.
        streams_requests: Whether it takes a stream of requests.
        streams_responses: Whether it gives a stream of responses.
        place: Where its contract is written, or the method where it has none. Default: not known.
    """

    method: str
    declared: bool = False
    total: float | None = None
    header: float | None = None
    idle: float | None = None
    write: float | None = None
    p99: float | None = None
    streams_requests: bool = False
    streams_responses: bool = False
    place: Place | None = None

    @property
    def service(self) -> str:
        """The full name of its service."""
        return self.method.rpartition("/")[0]

    def limits(self) -> dict[Part, float]:
        """Return the limits that it says, as an entry of a policy."""
        return {part: seconds for part in LIMITS if (seconds := getattr(self, part)) is not None}


@dataclass(frozen=True, slots=True)
class Observed:
    """What was measured of one method, in seconds.

    Args:
        p99: 99 of 100 calls took no longer.
        p50, p95: The same of 50 and 95 of 100. Default: not known.
        count: How many calls were measured. Default: not known, but enough.
        place: Where this is written. Default: not known.

    Raises:
        TypeError: a value is not a number.
        ValueError: a time is NaN, infinite, negative or above 1e8, the times do not rise, or the count is below 1.
    """

    p99: float
    p50: float | None = None
    p95: float | None = None
    count: int | None = None
    place: Place | None = None

    def __post_init__(self) -> None:
        before = 0.0
        for name in ("p50", "p95", "p99"):
            value = getattr(self, name)
            if value is not None:
                seconds = check_seconds(name, value, minimum=before, inclusive=True)
                object.__setattr__(self, name, seconds)
                before = seconds
        if self.count is None:
            return
        if isinstance(self.count, bool) or not isinstance(self.count, int):
            raise TypeError(f"count must be an integer, not {type(self.count).__name__} ({self.count!r})")
        if self.count < 1:
            raise ValueError(f"count must be at least 1; got {self.count}")

    @property
    def few(self) -> bool:
        """Whether there were too few calls to know of one in a hundred."""
        return self.count is not None and self.count < 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or may be.

    Args:
        severity: ``error``: calls fail that should not, last longer than agreed, or a promise to clients is broken;
            ``warning``: a limit does less than it seems to.
        rule: The name of the rule, for filters.
        method: The method that it is about, or the service.
        message: What is the case and what follows from it.
        advice: What to do.
        place: Where; ``None`` where that is not known.
    """

    severity: Severity
    rule: str
    method: str
    message: str
    advice: str
    place: Place | None = None

    def __str__(self) -> str:
        where = "" if self.place is None else f"{self.place}: "
        return f"{where}{self.severity}[{self.rule}]: {self.method}: {self.message}; {self.advice}"

    def as_dict(self) -> dict[str, Any]:
        """Return it in types that JSON has; ``file`` and ``line`` are ``None`` where they are not known."""
        names = ("severity", "rule", "method", "message", "advice")
        place = self.place or Place("")
        return {name: getattr(self, name) for name in names} | {"file": place.file or None, "line": place.line}


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check.

    Args:
        findings: Errors first, then by place.
        methods: How many methods were looked at.
    """

    findings: tuple[Finding, ...]
    methods: int

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that are errors."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that are warnings."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    @property
    def ok(self) -> bool:
        """Whether there are no errors."""
        return not self.errors

    def rules(self) -> set[str]:
        """Return the names of the rules that found something."""
        return {finding.rule for finding in self.findings}

    def as_dict(self) -> dict[str, Any]:
        """Return everything in types that JSON has."""
        counts = {"methods": self.methods, "errors": len(self.errors), "warnings": len(self.warnings)}
        return {"ok": self.ok, **counts, "findings": [finding.as_dict() for finding in self.findings]}

    def __str__(self) -> str:
        counts = ((self.methods, "method"), (len(self.errors), "error"), (len(self.warnings), "warning"))
        summary = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)
        return "\n".join([*map(str, self.findings), summary])


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings: errors first, then by file, line, method and rule."""
    return tuple(sorted(findings, key=_key))


def _key(finding: Finding) -> tuple[Any, ...]:
    place = finding.place or Place("")
    return finding.severity != "error", place.file, place.line or 0, finding.method, finding.rule


def say(seconds: float | None) -> str:
    """Say a time to people, in the unit that suits it."""
    if seconds is None:
        return "nothing"
    return f"{seconds * 1000:.6g} ms" if seconds < 1 else f"{seconds:.6g} s"
