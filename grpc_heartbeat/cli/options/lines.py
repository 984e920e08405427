"""The report of ``options check`` for people: a line per finding, as compilers write them, then what will happen."""

from __future__ import annotations

from collections.abc import Iterator

from grpc_heartbeat.cli.options.files import Source
from grpc_heartbeat.options import Report
from grpc_heartbeat.options.findings import Finding


def plain_lines(report: Report, source: Source) -> Iterator[str]:
    """Yield the lines."""
    for finding in report.findings:
        yield _line(finding, source)
        yield f"    {finding.advice}"
    if report.findings:
        yield ""
    for line in report.prediction.lines():
        yield f"predicted: {line}"
    counts = [(len(report.errors), "error"), (len(report.warnings), "warning")]
    yield ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)


def _line(finding: Finding, source: Source) -> str:
    place = source.place_of(finding)
    where = f"{place['file']}:{place['line']}" if place["file"] else finding.end
    option = f"{one_line(finding.option)}: " if finding.option else ""
    return f"{where}: {finding.severity} [{finding.rule}] {option}{one_line(finding.message)}"


def one_line(text: str) -> str:
    """One line, without control characters that a file may have smuggled in."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))
