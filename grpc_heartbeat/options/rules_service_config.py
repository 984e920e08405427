"""Rules about the text of ``grpc.service_config``: what gRPC refuses, so that every call fails, and what it ignores."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from typing import Any

from grpc_heartbeat.options.findings import Finding, Options, Severity
from grpc_heartbeat.options.settings import whole

NAME = "grpc.service_config"
EARLY = 2.0
"""Seconds by which gRPC may end a call before the time-out that a service config says."""
MAX_ATTEMPTS = 5
"""gRPC does not try more often, whatever the configuration says."""
DURATION = re.compile(r"\d{1,12}(\.\d{1,9})?s")
CODES = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
    "OK",
]
POLICIES = (
    "pick_first",
    "round_robin",
    "weighted_round_robin",
    "grpclb",
    "ring_hash_experimental",
    "outlier_detection_experimental",
    "weighted_target_experimental",
    "priority_experimental",
    "rls_experimental",
)
TOP = (
    "loadBalancingPolicy",
    "loadBalancingConfig",
    "methodConfig",
    "retryThrottling",
    "healthCheckConfig",
    "connectionScaling",
)
METHOD = (
    "name",
    "waitForReady",
    "timeout",
    "maxRequestMessageBytes",
    "maxResponseMessageBytes",
    "retryPolicy",
    "hedgingPolicy",
)
RETRY = (
    "maxAttempts",
    "initialBackoff",
    "maxBackoff",
    "backoffMultiplier",
    "retryableStatusCodes",
    "perAttemptRecvTimeout",
)

Problem = tuple[Severity, str, str]
"""Severity, what is the case, what to do."""


def service_config_findings(client: Options) -> Iterator[Finding]:
    """Check the service config of a channel."""
    text = client.values.get(NAME)
    if not isinstance(text, (str, bytes)):
        return
    for severity, message, advice in problems(text):
        yield client.find(severity, "service-config", NAME, message, advice)
    if whole(client.values, "grpc.enable_retries") == 0 and b"retryPolicy" in (
        text if isinstance(text, bytes) else text.encode()
    ):
        message = "the service config asks for retries, which this option turns off"
        yield client.find("error", "retries-off", "grpc.enable_retries", message, "Leave it out")
    if whole(client.values, "grpc.inhibit_health_checking") and "healthCheckConfig" in str(text):
        message = "the service config asks for health checks, which this option turns off"
        yield client.find("error", "health-off", "grpc.inhibit_health_checking", message, "Leave it out")


def problems(text: str | bytes) -> Iterator[Problem]:
    """Yield what is wrong with a service config."""
    try:
        config = json.loads(text)
    except ValueError as error:
        yield "error", f"it is not JSON ({error}): every call of the channel fails", "Build it with service_config()"
        return
    if not isinstance(config, dict):
        yield "error", "it is not a JSON object: every call of the channel fails", "Build it with service_config()"
        return
    yield from _fields("the service config", config, TOP)
    yield from _balancing(config)
    seen: set[tuple[object, object]] = set()
    methods = config.get("methodConfig", [])
    for place, method in enumerate(methods if isinstance(methods, list) else [None]):
        where = f"methodConfig[{place}]"
        if not isinstance(method, dict):
            yield "error", f"{where} is not a JSON object: every call of the channel fails", "Write one"
            continue
        yield from _fields(where, method, METHOD)
        yield from _names(where, method, seen)
        if "timeout" in method:
            yield from _duration(f"{where}.timeout", method["timeout"])
            yield from _early(f"{where}.timeout", method["timeout"])
        if "retryPolicy" in method:
            yield from _retry(f"{where}.retryPolicy", method["retryPolicy"])


def _fields(where: str, found: dict[str, Any], known: tuple[str, ...]) -> Iterator[Problem]:
    for name in found:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            advice = f"Write {close[0]}" if close else f"There are {', '.join(known)}"
            yield "error", f"{where} has a field {name!r}, which gRPC does not know and ignores in silence", advice


def _names(where: str, method: dict[str, Any], seen: set[tuple[object, object]]) -> Iterator[Problem]:
    names = method.get("name")
    if not isinstance(names, list) or not names:
        yield "error", f"{where} has no name, so it holds for no method", 'Write "name": [{}] for all methods'
        return
    for name in names:
        if not isinstance(name, dict) or ("method" in name and not name.get("service")):
            yield "error", f"{where} names a method without its service: every call of the channel fails", "Name both"
            continue
        key = (name.get("service") or None, name.get("method") or None)
        if key in seen:
            yield "error", f"{where} names {name} a second time: every call of the channel fails", "Name each once"
        if "/" in str(key):
            yield "error", f"{where} names {name}: a service and a method have no slash", "Name them apart"
        seen.add(key)


def _duration(where: str, value: object) -> Iterator[Problem]:
    if not isinstance(value, str) or not DURATION.fullmatch(value):
        message = f"{where} is {value!r}, which is no duration: gRPC refuses it and every call of the channel fails"
        yield "error", message, 'Write seconds with an s in a string, as "0.5s"'


def _early(where: str, value: object) -> Iterator[Problem]:
    if not isinstance(value, str) or not DURATION.fullmatch(value):
        return
    seconds = float(value[:-1])
    if seconds < EARLY:
        message = f"{where} is {value}, but gRPC ends calls 1 to 2 s before it (grpc/grpc#34547): at once, or sometimes"
        yield "error", message, "Give calls timeout=, or the channel timeouts=, or build it with service_config()"
    else:
        message = f"gRPC ends calls 1 to 2 s before {where} (grpc/grpc#34547)"
        yield "note", message, "Add 2 s, as service_config() does, or give calls timeout="


def _retry(where: str, retry: object) -> Iterator[Problem]:
    if not isinstance(retry, dict):
        yield "error", f"{where} is not a JSON object: every call of the channel fails", "Write one"
        return
    yield from _fields(where, retry, RETRY)
    attempts = retry.get("maxAttempts")
    if isinstance(attempts, str) and attempts.isdigit():
        attempts = int(attempts)
    if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 2:
        message = f"{where}.maxAttempts is {attempts!r}: it counts the first attempt too and must be at least 2"
        yield "error", f"{message}, or every call of the channel fails", "Write 2 to 5"
    elif attempts > MAX_ATTEMPTS:
        yield "warning", f"{where}.maxAttempts is {attempts}, but gRPC does not try more than 5 times", "Write 2 to 5"
    for name in ("initialBackoff", "maxBackoff"):
        yield from _duration(f"{where}.{name}", retry.get(name))
    if not isinstance(retry.get("backoffMultiplier"), (int, float)) or retry["backoffMultiplier"] <= 0:
        message = f"{where}.backoffMultiplier must be a number above 0, or every call of the channel fails"
        yield "error", message, "Write 2"
    codes = retry.get("retryableStatusCodes")
    if not isinstance(codes, list) or not codes:
        yield (
            "error",
            f"{where}.retryableStatusCodes is empty: every call of the channel fails",
            'Write ["UNAVAILABLE"]',
        )
        return
    for code in codes:
        if code not in CODES:
            yield (
                "error",
                f"{where} has {code!r}, which is no status code: every call of the channel fails",
                "Write names in capitals",
            )
        elif code in ("OK", "DEADLINE_EXCEEDED", "CANCELLED"):
            message = f"{where} retries {code}, which is an end: one deadline spans all attempts, and a cancel is meant"
            yield "warning", message, "Leave it out"


def _balancing(config: dict[str, Any]) -> Iterator[Problem]:
    policies = config.get("loadBalancingConfig")
    names: list[str] = []
    if isinstance(policies, list):
        names = [next(iter(policy)) for policy in policies if isinstance(policy, dict) and len(policy) == 1]
        if policies and not any(name in POLICIES for name in names):
            message = f"loadBalancingConfig has no policy that gRPC knows ({', '.join(names)}): every call of the channel fails"
            yield "error", message, f"There are {', '.join(POLICIES[:3])}"
    elif policies is not None:
        yield (
            "error",
            "loadBalancingConfig is not a list: every call of the channel fails",
            'Write [{"round_robin": {}}]',
        )
    elif isinstance(old := config.get("loadBalancingPolicy"), str):
        names = [old.lower()]
    chosen = next((name for name in names if name in POLICIES), "pick_first")
    if "healthCheckConfig" in config and chosen == "pick_first":
        message = "healthCheckConfig does nothing under pick_first, which stays with one server whatever its health"
        yield "error", message, 'Add "loadBalancingConfig": [{"round_robin": {}}]'
