"""Everything that a program can see of a call on the sync stack."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import grpc

from tests.conformance.observe import family, prompt, public, shape, tell, unwrapped
from tests.conformance.paths_sync import Path
from tests.conformance.scenarios import Scenario, Server
from tests.peers import PATIENCE, wait_until

_tokens = (f"sync-{number}" for number in itertools.count())

QUESTIONS = (
    "is_active",
    "time_remaining",
    "initial_metadata",
    "trailing_metadata",
    "code",
    "cancelled",
    "running",
    "done",
    "exception",
    "traceback",
    "cancel",
    "result",
)
"""Methods without arguments of a call object, in an order that lets the later ones tell of the earlier ones' effects.

``debug_error_string`` is not among them: after a local error grpcio would wait in it for ever.
"""


def observe(path: Path, channel: grpc.Channel, scenario: Scenario, server: Server) -> dict[str, Any]:
    """Make the call of ``scenario`` along ``path`` and return all that was seen."""
    token = next(_tokens)
    kwargs = dict(scenario.kwargs)
    if scenario.cancels:
        kwargs["metadata"] = (("token", token),)
    seen: dict[str, Any] = {}
    calls: list[Any] = []
    try:
        method = path.multicallable(channel, f"/see.{scenario.behavior}/{path.kind}", **scenario.serializers)
        sent = scenario.requests() if path.streams_requests else next(iter(scenario.requests()))
        seen["responses"] = _run(path, method, sent, kwargs, calls, seen, scenario, server, token)
    except StopIteration:
        raise
    except Exception as error:
        _look_at_error(error, calls, seen)
    if calls:
        _look_at_call(calls[0], seen)
    return seen


def _run(
    path: Path,
    method: Any,
    sent: Any,
    kwargs: dict[str, Any],
    calls: list[Any],
    seen: dict[str, Any],
    scenario: Scenario,
    server: Server,
    token: str,
) -> Any:
    if path.form == "call":
        return method(sent, **kwargs)
    if path.form == "with_call":
        response, call = method.with_call(sent, **kwargs)
        calls.append(call)
        return response
    call = method.future(sent, **kwargs) if path.form == "future" else method(sent, **kwargs)
    calls.append(call)
    notified: list[Any] = []
    ended = threading.Event()
    if not call.add_callback(ended.set):  # it may be over already
        ended.set()
    call.add_done_callback(notified.append)
    if scenario.cancels:
        assert server.watch(token).started.wait(PATIENCE)
        _look_at_running_call(call, seen, waits=path.form == "future")
        seen["cancel"] = tell(call.cancel)
    try:
        return call.result(PATIENCE) if path.form == "future" else _collect(call, seen)
    finally:
        # A single-threaded call reads of its end when it is iterated over, which it is not any more after a local error.
        if not path.options or not (scenario.cancels or scenario.serializers):
            seen["ended"] = ended.wait(PATIENCE)
            wait_until(lambda: notified)
            seen["done callbacks got the call"] = [each is call for each in notified]


def _collect(call: Any, seen: dict[str, Any]) -> list[bytes]:
    seen["iterator"] = iter(call) is call
    responses: list[bytes] = []
    seen["responses until the end"] = responses
    responses += call  # what came before an error is kept
    return responses


def _look_at_running_call(call: Any, seen: dict[str, Any], waits: bool) -> None:
    for name in ("is_active", "time_remaining", "cancelled", "running", "done"):
        seen[f"{name}, in flight"] = tell(getattr(call, name))
    seen["repr, in flight"] = shape(prompt(call.__repr__))
    if waits:
        seen["result(0.01), in flight"] = tell(lambda: call.result(0.01))
        seen["exception(0.01), in flight"] = tell(lambda: call.exception(0.01))
        seen["traceback(0.01), in flight"] = tell(lambda: call.traceback(0.01))


def _look_at_error(error: Any, calls: list[Any], seen: dict[str, Any]) -> None:
    seen["raised"] = family(error)
    seen["raised is the call"] = bool(calls) and error is calls[0]
    if not isinstance(error, grpc.RpcError):
        seen["raised says"] = shape(str(error))
        return
    details = error.details()
    seen["str"] = shape(prompt(error.__str__), details)
    seen["repr"] = shape(prompt(error.__repr__), details)
    seen["details"] = unwrapped(details)
    for name in ("code", "initial_metadata", "trailing_metadata"):
        seen[f"error.{name}"] = tell(getattr(error, name))
    seen["error's names"] = public(error)


def _look_at_call(call: Any, seen: dict[str, Any]) -> None:
    seen["call is"] = family(call)
    seen["call's names"] = public(call)
    for name in QUESTIONS:
        if hasattr(call, name):
            seen[f"call.{name}"] = tell(getattr(call, name))
    if hasattr(call, "exception") and not call.cancelled():
        seen["exception is the call"] = call.exception() is call
    seen["call.details"] = unwrapped(call.details())
    seen["call.str"] = shape(prompt(call.__str__), call.details())
    seen["late callback taken"] = tell(lambda: call.add_callback(print))
    late: list[Any] = []
    seen["late done callback"] = tell(lambda: call.add_done_callback(late.append))
    seen["late done callback got the call"] = [each is call for each in late]
    if hasattr(call, "__next__"):
        seen["next, after the end"] = tell(lambda: next(call))
