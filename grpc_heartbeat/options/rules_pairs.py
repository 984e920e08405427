"""Rules about both ends together: PINGs that the server punishes, messages that the other end refuses, detection in time."""

from __future__ import annotations

from collections.abc import Iterator

from grpc_heartbeat.options.detection import say
from grpc_heartbeat.options.findings import Finding, Options, Prediction, Severity
from grpc_heartbeat.options.pings import Fate, why
from grpc_heartbeat.options.settings import MIN_INTERVAL, PERMIT, TIME, Enforcement, client_keepalive, whole

MARGIN = 1.1
"""How many times the interval that is allowed a client's should at least be."""
RECEIVE = "grpc.max_receive_message_length"
SEND = "grpc.max_send_message_length"
RECEIVE_DEFAULT = 4 * 1024 * 1024
UNLIMITED = float("inf")


def ping_findings(client: Options, allowed: Enforcement, known: bool, prediction: Prediction) -> Iterator[Finding]:
    """Say where the server will punish the client; ``known`` tells whether the server's side was given."""
    whose = "" if known else " (the server's options were not given: these are gRPC's defaults)"
    for fate, calls in ((prediction.in_call, True), (prediction.without_calls, False)):
        rule = "too-many-pings" if calls else "pings-without-calls"
        if fate.outcome == "survives" or (not calls and _same(fate, prediction.in_call)):
            continue
        severity: Severity = "error" if known and fate.outcome == "goaway" else "warning"
        subject = "a quiet call" if calls else "a connection without calls"
        message = f"{why(client_keepalive(client.values), allowed, calls=calls)}, and {subject} {_end(fate)}{whose}"
        option = TIME if calls or allowed.permit_without_calls else PERMIT
        yield client.find(severity, rule, option, message, _advice(client, allowed, calls=calls))
    yield from _margin(client, allowed, prediction)


def _same(fate: Fate, other: Fate) -> bool:
    return (fate.outcome, fate.earliest, fate.latest, fate.settles) == (
        other.outcome,
        other.earliest,
        other.latest,
        other.settles,
    )


def _end(fate: Fate) -> str:
    ends = "ends" if fate.outcome == "goaway" else "may end"
    latest = f" to {say(fate.latest)}" if fate.latest is not None else ""
    return f"{ends} with GOAWAY too_many_pings after {say(fate.earliest or 0)}{latest} of silence"


def _advice(client: Options, allowed: Enforcement, *, calls: bool) -> str:
    pace = client_keepalive(client.values).pace
    if not calls and not allowed.permit_without_calls:
        return f"Set {PERMIT} to 1 on the server, or leave it out on the client"
    return (
        f"Let the server allow {say(pace / 2)} ({MIN_INTERVAL}), or PING every {say(allowed.min_interval * 2)} ({TIME})"
    )


def _margin(client: Options, allowed: Enforcement, prediction: Prediction) -> Iterator[Finding]:
    keepalive = client_keepalive(client.values)
    survives = prediction.in_call.outcome == "survives"
    if survives and keepalive.on and allowed.max_strikes and keepalive.pace < allowed.min_interval * MARGIN:
        message = (
            f"the client PINGs every {say(keepalive.pace)}, the server demands {say(allowed.min_interval)}: a PING that is "
            f"early by a little is a strike, and strikes do not fade while the server sends nothing"
        )
        yield client.find("warning", "no-margin", TIME, message, _advice(client, allowed, calls=True))


def size_findings(sender: Options, receiver: Options) -> Iterator[Finding]:
    """Say where one end is told to send what the other refuses."""
    send = sender.values.get(SEND)
    if not isinstance(send, int) or isinstance(send, bool) or not receiver.given:
        return
    limit = whole(receiver.values, RECEIVE)
    limit = RECEIVE_DEFAULT if limit is None else limit
    if limit >= 0 and (send < 0 or send > limit):
        most = "messages of any size" if send < 0 else f"messages of up to {send} bytes"
        message = (
            f"the {sender.end} may send {most}, the {receiver.end} refuses more than {limit} bytes: RESOURCE_EXHAUSTED"
        )
        yield sender.find("warning", "message-size", SEND, message, f"Set {RECEIVE} on the {receiver.end} as well")


def speed_findings(client: Options, prediction: Prediction, within: float) -> Iterator[Finding]:
    """Say which faults stay unnoticed for longer than ``within`` seconds by a client in a call."""
    times = prediction.detection.client_in_call
    for fault in ("host gone", "process frozen"):
        if times[fault] > within:
            message = f"{fault}: noticed after {say(times[fault])}, later than the {say(within)} that are asked for"
            yield client.find("error", "too-slow", TIME, message, "See client_options() and keepalive_pair()")
