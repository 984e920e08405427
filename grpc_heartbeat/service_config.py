"""Service configs: retries, time-outs, waiting and balancing for ``grpc.service_config``, from the same ``Timeouts``.

Theory of operation. gRPC's client reads a JSON text that says, per method, how long a call may take and what is tried again.
The most exact entry for a method holds alone; nothing is merged, so every entry made here says everything. One deadline spans
all attempts of a call: a retry can never outlive the budget, but pauses that add up to more than the budget are retries that
never happen, and a call that ends by DEADLINE_EXCEEDED instead of the error that would say why. That is refused here.

What belongs where: a channel of this library limits calls by itself, with layers that a service config does not know; give it
``timeouts=`` and leave them out here. A service config's time-out is for channels that are not this library's, and the server
never learns of it. A GOAWAY for a connection's maximum age needs neither retry nor alarm: gRPC itself sends calls that the
server has not seen again, on a new connection.

gRPC ends a call 1 to 2 seconds before the time-out of a service config (grpc/grpc#34547: it takes the start of the call by
another clock than the time-out's end, and the two differ by one second and the fraction of a second at which the process
started). So a time-out of one second ends every call before it is sent. What is written here has 2 seconds added: no call ends
early, and one may run up to a second longer than its total says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, TypeAlias

from grpc_heartbeat.config import Timeouts
from grpc_heartbeat.options.rules_service_config import EARLY, POLICIES
from grpc_heartbeat.policy import TimeoutPolicy, method_name, service_name
from grpc_heartbeat.retry_policy import RetryPolicy, duration

__all__ = ["RetryPolicy", "service_config", "streaming_methods"]

Balancing: TypeAlias = "str | Mapping[str, Mapping[str, Any]]"


def service_config(
    *,
    timeouts: Timeouts | TimeoutPolicy | None = None,
    streams: Iterable[str] | None = None,
    retry: RetryPolicy | Mapping[str, RetryPolicy] | None = None,
    fit_retries: bool = False,
    wait_for_ready: bool | None = None,
    health_check: str | None = None,
    load_balancing: Balancing | None = None,
    throttle: tuple[int, float] | None = None,
) -> str:
    """Return the JSON text for a channel's option ``grpc.service_config``.

    Args:
        timeouts: Where the total of each method comes from; the other layers are not known to gRPC. 2 s are added to each, as
            explained above. Leave it out on channels that have ``timeouts=`` themselves: those are exact.
        streams: The methods that stream responses, such as ``"shop.Orders/Watch"``, which have a total only by an entry of
            their own in ``timeouts``. Must be given where a total holds for a service or by default (``()`` for none), because
            gRPC would cut streams by it too. ``streaming_methods()`` finds them.
        retry: For all methods, or by the full name of a service (``"shop.Orders"``) or method (``"shop.Orders/Place"``), with
            ``""`` for the rest. Default: no retries but gRPC's own, of calls that no server has seen.
        fit_retries: Leave out attempts whose pauses do not fit into a method's total, instead of raising. Default false.
        wait_for_ready: Whether calls wait for a connection instead of failing at once. Default: gRPC's, no.
        health_check: The name of the health service to watch, ``""`` for the whole server. Needs a policy other than
            ``pick_first`` in ``load_balancing``, under which gRPC does not look at it.
        load_balancing: The name of a policy, such as ``"round_robin"``, or a mapping of one name to its configuration.
            Default: ``pick_first``.
        throttle: ``(max_tokens, token_ratio)``: each failed attempt costs a token, each success gives ``token_ratio`` back, and
            at half of the tokens retries stop. 1 to 1000 tokens, ratio from 0.001. Default: none.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an argument outside its range; retries whose pauses do not fit; a total that would cut unnamed streams; a
            health check without effect.
    """
    policy = TimeoutPolicy(timeouts) if isinstance(timeouts, Timeouts) else timeouts
    if not (policy is None or isinstance(policy, TimeoutPolicy)):
        raise TypeError(f"timeouts must be Timeouts or a TimeoutPolicy, not {type(timeouts).__name__} ({timeouts!r})")
    if not (wait_for_ready is None or isinstance(wait_for_ready, bool)):
        raise TypeError(f"wait_for_ready must be True, False or None, not {wait_for_ready!r}")
    config: dict[str, Any] = {}
    if load_balancing is not None:
        config["loadBalancingConfig"] = [_balancing(load_balancing)]
    if health_check is not None:
        config["healthCheckConfig"] = {"serviceName": _health(health_check, config)}
    if throttle is not None:
        config["retryThrottling"] = _throttle(throttle)
    methods = _methods(policy, streams, _retries(retry), fit_retries, wait_for_ready)
    if methods:
        config["methodConfig"] = methods
    return json.dumps(config)


def streaming_methods(descriptor: Any) -> tuple[str, ...]:
    """Return the full names of the methods that stream responses in a generated module's ``DESCRIPTOR``, or in a service's."""
    services = getattr(descriptor, "services_by_name", None)
    found = [descriptor] if services is None else services.values()
    return tuple(
        f"{service.full_name}/{method.name}"
        for service in found
        for method in service.methods
        if method.server_streaming
    )


def _methods(
    policy: TimeoutPolicy | None,
    streams: Iterable[str] | None,
    retries: dict[str, RetryPolicy],
    fit: bool,
    wait_for_ready: bool | None,
) -> list[dict[str, Any]]:
    """Return an entry for everything that is named anywhere, the most exact ones first, and one for the rest."""
    streaming = {method_name(name) for name in _names("streams", streams)}
    known = {"", *retries, *streaming, *_patterns(policy)}
    entries = []
    for pattern in sorted(known, key=lambda name: (not name, "/" not in name, name)):
        total = _total(policy, pattern, streaming, named=streams is not None)
        entry = _entry(pattern, total, _retry_of(pattern, retries), fit, wait_for_ready)
        if entry or pattern:
            entries.append({"name": [_name(pattern)], **entry})
    return entries


def _patterns(policy: TimeoutPolicy | None) -> set[str]:
    return set() if policy is None else {*policy.services, *policy.methods}


def _total(policy: TimeoutPolicy | None, pattern: str, streaming: set[str], *, named: bool) -> float | None:
    """The total that holds for a pattern; of a service or all, that of a method which has no entry of its own."""
    if policy is None:
        return None
    exact = "/" in pattern
    method = pattern if exact else f"{pattern or '*'}/*"
    total = policy.limits(method, streams=pattern in streaming).total
    if total is not None and not exact and not named:
        of = f"the service {pattern}" if pattern else "all methods"
        raise ValueError(
            f"the total of {total:g} s for {of} would cut streams too: name the methods that stream responses as streams=, "
            "or give streams=() if there are none"
        )
    return total


def _entry(
    pattern: str, total: float | None, retry: RetryPolicy | None, fit: bool, wait_for_ready: bool | None
) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if total is not None:
        entry["timeout"] = duration(total + EARLY)
    if wait_for_ready is not None:
        entry["waitForReady"] = wait_for_ready
    if retry is not None and total is not None and retry.pauses >= total:
        if not fit:
            raise ValueError(
                f"the retries of {pattern or 'all methods'} cannot fit: {retry.attempts} attempts have pauses of up to "
                f"{retry.pauses:.3g} s, and the total is {total:g} s; shorten the back-off, or set fit_retries=True"
            )
        retry = retry.fitted(total)
    if retry is not None:
        entry["retryPolicy"] = retry.as_dict()
    return entry


def _retry_of(pattern: str, retries: dict[str, RetryPolicy]) -> RetryPolicy | None:
    for name in (pattern, pattern.rpartition("/")[0], ""):
        if name in retries:
            return retries[name]
    return None


def _retries(retry: object) -> dict[str, RetryPolicy]:
    if retry is None:
        return {}
    if isinstance(retry, RetryPolicy):
        return {"": retry}
    if not isinstance(retry, Mapping):
        raise TypeError(
            f"retry must be a RetryPolicy or a mapping of names to them, not {type(retry).__name__} ({retry!r})"
        )
    for name, policy in retry.items():
        if not isinstance(policy, RetryPolicy):
            raise TypeError(f"retry[{name!r}] must be a RetryPolicy, not {type(policy).__name__} ({policy!r})")
    return {_pattern(name): policy for name, policy in retry.items()}


def _pattern(name: object) -> str:
    return "" if name == "" else method_name(name) if "/" in str(name) else service_name(name)


def _name(pattern: str) -> dict[str, str]:
    service, _, method = pattern.partition("/")
    return {key: part for key, part in (("service", service), ("method", method)) if part}


def _names(argument: str, names: Iterable[str] | None) -> list[str]:
    if isinstance(names, str):
        raise TypeError(f"{argument} must be names in a list or tuple, not one string ({names!r})")
    return list(names or ())


def _balancing(policy: object) -> dict[str, Any]:
    configured = {policy: {}} if isinstance(policy, str) else policy
    if not isinstance(configured, Mapping):
        raise TypeError(f"load_balancing must be the name of a policy or a mapping of one name, not {policy!r}")
    if len(configured) != 1 or next(iter(configured)) not in POLICIES:
        raise ValueError(f"load_balancing must name one of {', '.join(POLICIES)}; got {policy!r}")
    return {name: dict(settings) for name, settings in configured.items()}


def _health(service: object, config: dict[str, Any]) -> str:
    if not isinstance(service, str):
        raise TypeError(f"health_check must be the name of a service, '' for the whole server, not {service!r}")
    if "pick_first" in config.get("loadBalancingConfig", [{"pick_first": {}}])[0]:
        raise ValueError(
            "health_check has no effect under pick_first, which stays with one server whatever its health: "
            "give load_balancing='round_robin' as well"
        )
    return service


def _throttle(throttle: object) -> dict[str, Any]:
    if not isinstance(throttle, tuple) or len(throttle) != 2:
        raise TypeError(f"throttle must be a pair (max_tokens, token_ratio), not {throttle!r}")
    tokens, ratio = throttle
    if isinstance(tokens, bool) or not isinstance(tokens, int) or not 1 <= tokens <= 1000:
        raise ValueError(f"throttle: max_tokens must be a whole number from 1 to 1000; got {tokens!r}")
    if isinstance(ratio, bool) or not isinstance(ratio, Real) or not 0.001 <= float(ratio) <= 1000:
        raise ValueError(f"throttle: token_ratio must be a number from 0.001 to 1000; got {ratio!r}")
    return {"maxTokens": tokens, "tokenRatio": round(float(ratio), 3)}
