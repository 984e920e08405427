"""Everything that a program can see of a call on the asyncio stack."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

from tests.conformance.observe import family, public, shape, tell, unwrapped, value
from tests.conformance.paths_aio import Path
from tests.conformance.scenarios import Scenario
from tests.peers import PATIENCE


async def tell_awaited(look: Any) -> Any:
    """Return what the coroutine function ``look`` returns or raises, in a form to compare."""
    try:
        return value(await asyncio.wait_for(look(), PATIENCE))
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.InvalidStateError):
            return ("raises", "InvalidStateError")  # which ours is, beside being the call's own error
        return ("raises", family(error))


async def observe(path: Path, channel: grpc.aio.Channel, scenario: Scenario) -> dict[str, Any]:
    """Make the call of ``scenario`` along ``path`` and return all that was seen."""
    seen: dict[str, Any] = {}
    calls: list[Any] = []
    try:
        method = path.multicallable(channel, f"/see.{scenario.behavior}/{path.kind}", **scenario.serializers)
        call = _start(path, method, scenario)
        calls.append(call)
        await _run(path, call, scenario, seen)
    except (Exception, asyncio.CancelledError) as error:
        _look_at_error(error, seen)
    if calls:
        await _look_at_call(path, calls[0], seen)
    return seen


def _start(path: Path, method: Any, scenario: Scenario) -> Any:
    if not path.streams_requests:
        return method(next(iter(scenario.requests())), **scenario.kwargs)
    return method(**scenario.kwargs) if path.writes else method(scenario.requests(), **scenario.kwargs)


async def _run(path: Path, call: Any, scenario: Scenario, seen: dict[str, Any]) -> None:
    notified: list[Any] = []
    ended = asyncio.Event()
    call.add_done_callback(notified.append)
    call.add_done_callback(lambda _: ended.set())
    try:
        if scenario.cancels:
            await asyncio.sleep(0.03)  # sleep: nothing tells the client when the server has its call
            for name in ("cancelled", "done", "time_remaining"):
                seen[f"{name}, in flight"] = tell(getattr(call, name))
            seen["repr, in flight"] = shape(repr(call))
            seen["cancel"] = tell(call.cancel)
            seen["cancel, twice"] = tell(call.cancel)
        if path.writes:
            await tell_awaited(lambda: _write(call, scenario))  # how it fails is a race in grpcio
        if path.streams_responses:
            await _collect(path, call, seen)
        else:
            seen["response"] = value(await call)
            seen["response, asked twice"] = value(await call)
    finally:
        if scenario.ends:
            await asyncio.wait_for(ended.wait(), PATIENCE)
        seen["done callbacks got the call"] = [each is call for each in notified]


async def _write(call: Any, scenario: Scenario) -> None:
    for request in scenario.requests():
        await call.write(request)
    await call.done_writing()


async def _collect(path: Path, call: Any, seen: dict[str, Any]) -> None:
    responses = seen["responses until the end"] = []
    if path.reads:
        while (response := await call.read()) is not grpc.aio.EOF:
            responses.append(response)
        seen["read, after the end"] = await tell_awaited(call.read)
    else:
        async for response in call:
            responses += [response]


def _look_at_error(error: BaseException, seen: dict[str, Any]) -> None:
    seen["raised"] = family(error)
    if not isinstance(error, grpc.aio.AioRpcError):
        seen["raised says"] = shape(str(error))
        return
    details = error.details()
    seen["str"] = shape(str(error), details)
    seen["details"] = unwrapped(details)
    for name in ("code", "initial_metadata", "trailing_metadata"):
        seen[f"error.{name}"] = tell(getattr(error, name))
    seen["error's names"] = public(error)


async def _look_at_call(path: Path, call: Any, seen: dict[str, Any]) -> None:
    seen["call is"] = tuple(each.__name__ for each in type(call).__mro__ if each in _PUBLIC)
    seen["call's names"] = public(call)
    for name in ("done", "cancelled", "time_remaining", "cancel"):
        seen[f"call.{name}"] = tell(getattr(call, name))
    for name in ("code", "initial_metadata", "trailing_metadata"):
        seen[f"call.{name}"] = await tell_awaited(getattr(call, name))
    seen["call.details"] = unwrapped(await call.details())
    seen["call.wait_for_connection"] = await tell_awaited(call.wait_for_connection)
    late: list[Any] = []
    call.add_done_callback(late.append)
    await asyncio.sleep(0)
    seen["late done callback got the call"] = [each is call for each in late]
    if path.writes:
        seen["write, after the end"] = await tell_awaited(lambda: call.write(b"late"))
    if path.streams_responses and seen["call.code"] is grpc.StatusCode.OK:
        seen["the other way of reading"] = await tell_awaited(
            (lambda: anext_of(call)) if path.reads else call.read  # grpc.aio allows one way per call
        )


async def anext_of(call: Any) -> Any:
    return await call.__aiter__().__anext__()


_PUBLIC = (
    grpc.aio.Call,
    grpc.aio.RpcContext,
    grpc.aio.UnaryUnaryCall,
    grpc.aio.UnaryStreamCall,
    grpc.aio.StreamUnaryCall,
    grpc.aio.StreamStreamCall,
)
