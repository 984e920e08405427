"""Rules about single options: is the name known, does this end read it, is the value of the type and unit that is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from grpc_heartbeat.options._known import VERSIONS
from grpc_heartbeat.options.catalogue import Option, nearest, options
from grpc_heartbeat.options.findings import Finding, Options
from grpc_heartbeat.options.settings import INT_MAX

SUSPECT_BELOW = {
    "grpc.keepalive_time_ms": 1000,
    "grpc.keepalive_timeout_ms": 100,
    "grpc.http2.ping_timeout_ms": 100,
    "grpc.http2.min_ping_interval_without_data_ms": 100,
    "grpc.max_connection_idle_ms": 1000,
    "grpc.max_connection_age_ms": 1000,
    "grpc.max_connection_age_grace_ms": 100,
    "grpc.client_idle_timeout_ms": 1000,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 100,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.dns_ares_query_timeout": 100,
    "grpc.dns_min_time_between_resolutions_ms": 100,
    "grpc.server_handshake_timeout_ms": 1000,
    "grpc.grpclb_call_timeout_ms": 100,
}
"""Milliseconds below which seconds were probably meant: none of these make sense, or gRPC raises them."""
ZERO_MEANS_OFF = {
    "grpc.dns_ares_query_timeout",
    "grpc.http2.min_ping_interval_without_data_ms",
    "grpc.grpclb_call_timeout_ms",
    "grpc.dns_min_time_between_resolutions_ms",
    "grpc.max_connection_age_grace_ms",
}
CONCATENATED = ("grpc.primary_user_agent", "grpc.secondary_user_agent")
TEST_ONLY = ("grpc.testing.", "grpc.test-only.", "grpc.TEST_ONLY", "grpc.fake_")


def entry_findings(end: Options) -> Iterator[Finding]:
    """Check each entry by itself."""
    counts = Counter(name for name, _ in end.written if isinstance(name, str))
    for place, (name, value) in enumerate(end.written):
        if not isinstance(name, str):
            message = f"an option's name is a {type(name).__name__} ({name!r}), which grpcio refuses"
            yield end.find("error", "wrong-type", str(name), message, "Write (name, value) pairs", entry=place)
            continue
        option = options().get(name)
        if option is None:
            yield _unknown(end, name, place)
        else:
            yield from _known(end, option, value, place)
        if counts.pop(name, 0) > 1 and name not in CONCATENATED:
            message = "it is given more than once; the first one counts"
            yield end.find("warning", "duplicate", name, message, "Give it once", entry=place)


def _unknown(end: Options, name: str, place: int) -> Finding:
    meant = nearest(name)
    if not name.startswith("grpc.") and meant is None:
        message = "gRPC knows no option of this name; if it is for a plugin of yours, that is right"
        return end.find("note", "foreign-option", name, message, "Nothing", entry=place)
    advice = _instead(end, meant) if meant else "Look the name up: `grpc-heartbeat options show`"
    message = "gRPC knows no option of this name and ignores it in silence, so it has no effect"
    return end.find("error", "unknown-option", name, message, advice, suggestion=meant, entry=place)


def _instead(end: Options, meant: str) -> str:
    side = options()[meant].side
    return f"Write {meant}" if side in ("both", end.end) else f"Write {meant}, which is an option of the {side}"


def _known(end: Options, option: Option, value: object, place: int) -> Iterator[Finding]:
    if option.side == "nobody":
        advice = "Set grpc.keepalive_time_ms" if "pings" in option.name else "Remove it"
        message = f"it has no effect: {option.meaning}"
        yield end.find("warning", "no-effect", option.name, message, advice, entry=place)
    elif option.side not in ("both", end.end):
        message = f"only a {option.side} reads it, so it has no effect on a {end.end}"
        yield end.find("error", "wrong-side", option.name, message, f"Give it to the {option.side}", entry=place)
    if len(option.releases) < len(VERSIONS):
        message = f"of the grpcio releases that are supported, {VERSIONS[0]} to {VERSIONS[-1]}, not all know it"
        yield end.find("note", "not-everywhere", option.name, message, "Check your release", entry=place)
    if option.name.startswith(TEST_ONLY) or option.name == "grpc.ssl_target_name_override":
        message = "it is meant for tests, where it turns a protection off or a limit round"
        yield end.find("warning", "test-only", option.name, message, "Leave it out in production", entry=place)
    yield from _value(end, option, value, place)


def _value(end: Options, option: Option, value: object, place: int) -> Iterator[Finding]:
    if option.kind == "object":
        if isinstance(value, (int, float, str, bytes)):
            message = f"its value is a pointer of C, not {value!r}; it is ignored"
            yield end.find("error", "wrong-type", option.name, message, "Leave it out", entry=place)
    elif option.kind == "text":
        if not isinstance(value, (str, bytes)):
            message = f"its value is text; {_seen(value)}"
            yield end.find("error", "wrong-type", option.name, message, "Write a string", entry=place)
    elif not isinstance(value, int):
        message = f"its value is a whole number; {_seen(value)}"
        yield end.find("error", "wrong-type", option.name, message, f"Write {_as_whole(value)}", entry=place)
    elif not -INT_MAX - 1 <= value <= INT_MAX:
        advice = "Write -1 for no limit" if option.name.endswith("message_length") else f"Write at most {INT_MAX}"
        message = f"{value} does not fit into 32 bits: grpcio raises OverflowError"
        yield end.find("error", "out-of-range", option.name, message, advice, entry=place)
    else:
        yield from _whole(end, option, value, place)


def _whole(end: Options, option: Option, value: int, place: int) -> Iterator[Finding]:
    if option.kind == "flag":
        if value not in (0, 1):
            message = f"it is a yes or no; gRPC takes {value} for yes and logs an error"
            yield end.find("warning", "wrong-type", option.name, message, "Write 0 or 1", entry=place)
    elif isinstance(value, bool):
        unit = "" if option.kind == "integer" else f" of {option.kind}"
        message = f"{value} means {int(value)} here: it is a number{unit}, not a yes or no"
        yield end.find("error", "wrong-type", option.name, message, "Write the number", entry=place)
    elif value < 0 and option.kind in ("milliseconds", "seconds"):
        message = f"a time cannot be {value}; gRPC takes another one for it"
        yield end.find("error", "out-of-range", option.name, message, "Write a time, or leave it out", entry=place)
    elif value < SUSPECT_BELOW.get(option.name, 0) and not (value == 0 and option.name in ZERO_MEANS_OFF):
        advice = f"If {value} seconds were meant, write {value * 1000}" if value else "Leave it out, or write a time"
        message = f"the unit is milliseconds, and {value} ms is too short to make sense"
        yield end.find("error", "wrong-unit", option.name, message, advice, entry=place)


def _seen(value: object) -> str:
    if isinstance(value, (str, bytes)):
        return f"{value!r} is text, which gRPC ignores in silence"
    if hasattr(value, "__int__"):
        return f"{value!r} is a {type(value).__name__}, which grpcio passes on as a pointer and gRPC ignores in silence"
    return f"{value!r} is a {type(value).__name__}: grpcio raises TypeError"


def _as_whole(value: object) -> str:
    try:
        return str(round(float(value)))  # type: ignore[arg-type] # what is not a number raises
    except (TypeError, ValueError, OverflowError):
        return "a whole number"
