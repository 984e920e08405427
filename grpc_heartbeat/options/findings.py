"""What a check finds, and how it is said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from grpc_heartbeat.options.detection import FAULTS, NEVER, Detection, say
from grpc_heartbeat.options.pings import Fate

Severity = Literal["error", "warning", "note"]
End = Literal["client", "server"]

ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or will surprise.

    Args:
        severity: ``error``: it does not work, or cuts connections; ``warning``: it does less than it seems to; ``note``: good
            to know.
        rule: The name of the rule, for filters.
        end: Whose options it is about.
        option: The option it is about, as it was written; empty if it is about one that is missing.
        message: What is the case and what follows from it.
        advice: What to do.
        suggestion: The right name for a wrong one.
        entry: The place of the option among that end's, from 0; ``None`` if it is missing.
    """

    severity: Severity
    rule: str
    end: End
    option: str
    message: str
    advice: str
    suggestion: str | None = None
    entry: int | None = None

    def __str__(self) -> str:
        about = f"{self.end}, {self.option}" if self.option else self.end
        return f"{self.severity} [{self.rule}] {about}: {self.message}. {self.advice}."


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the options of both ends will do, gRPC's defaults in place of those that are missing.

    Args:
        in_call: What becomes of a connection with a quiet call on it.
        without_calls: What becomes of a connection without calls.
        detection: How long faults stay unnoticed.
    """

    in_call: Fate
    without_calls: Fate
    detection: Detection

    def lines(self) -> list[str]:
        """Say it in lines for people."""
        said = [_fate("a quiet call", self.in_call), _fate("a connection without calls", self.without_calls)]
        for title, times in (
            ("the client in a call", self.detection.client_in_call),
            ("the client without calls", self.detection.client_idle),
            ("the server, of its client,", self.detection.server_in_call),
        ):
            said.append(
                f"{title} notices at the latest: " + ", ".join(f"{fault}: {say(times[fault])}" for fault in FAULTS)
            )
        return said


@dataclass(frozen=True, slots=True)
class Report:
    """The result of ``check_options``: findings, worst first, and a prediction."""

    findings: tuple[Finding, ...]
    prediction: Prediction

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that are errors."""
        return self._of("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that are warnings."""
        return self._of("warning")

    @property
    def ok(self) -> bool:
        """Whether there are no errors."""
        return not self.errors

    def rules(self) -> set[str]:
        """Return the names of the rules that found something."""
        return {finding.rule for finding in self.findings}

    def as_dict(self) -> dict[str, Any]:
        """Return everything in types that JSON has; a time that never comes is ``None``."""
        return {
            "ok": self.ok,
            "findings": [finding_as_dict(finding) for finding in self.findings],
            "prediction": _prediction_as_dict(self.prediction),
        }

    def __str__(self) -> str:
        return "\n".join([*map(str, self.findings), *self.prediction.lines()])

    def _of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == severity)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings: errors first, then by end and place."""
    return tuple(sorted(findings, key=lambda f: (ORDER[f.severity], f.end, -1 if f.entry is None else f.entry, f.rule)))


def finding_as_dict(finding: Finding) -> dict[str, Any]:
    """Return a finding in types that JSON has."""
    names = ("severity", "rule", "end", "option", "message", "advice", "suggestion", "entry")
    return {name: getattr(finding, name) for name in names}


@dataclass(slots=True)
class Options:
    """The options of one end: what was written, and what of it counts: of equal names gRPC takes the first."""

    end: End
    written: list[tuple[object, object]]
    given: bool = True
    values: dict[str, object] = field(init=False)

    def __post_init__(self) -> None:
        self.values = {name: value for name, value in reversed(self.written) if isinstance(name, str)}

    def find(self, severity: Severity, rule: str, option: str, message: str, advice: str, **more: Any) -> Finding:
        """Make a finding about ``option`` of this end."""
        places = [place for place, (name, _) in enumerate(self.written) if name == option]
        entry = more.pop("entry", places[0] if places else None)
        return Finding(
            severity, rule, self.end, option if entry is not None else "", message, advice, entry=entry, **more
        )


def _fate(subject: str, fate: Fate) -> str:
    if fate.outcome == "survives":
        return f"{subject} survives the client's PINGs"
    when = f"after {say(fate.earliest or 0)}" + (f" to {say(fate.latest)}" if fate.latest is not None else "")
    doubt = "ends" if fate.outcome == "goaway" else "may end"
    settles = f"; a C-core client would settle at a PING every {say(fate.settles)}" if fate.settles else ""
    return f"{subject} {doubt} with GOAWAY too_many_pings {when} of silence{settles}"


def _prediction_as_dict(prediction: Prediction) -> dict[str, Any]:
    return {
        "in_call": _fate_as_dict(prediction.in_call),
        "without_calls": _fate_as_dict(prediction.without_calls),
        "detection_seconds": {
            place: _times(getattr(prediction.detection, place))
            for place in ("client_in_call", "client_idle", "server_in_call")
        },
    }


def _fate_as_dict(fate: Fate) -> dict[str, Any]:
    return {name: getattr(fate, name) for name in ("outcome", "earliest", "latest", "settles")}


def _times(times: Mapping[Any, float]) -> dict[str, float | None]:
    return {str(fault): None if seconds == NEVER else seconds for fault, seconds in times.items()}
