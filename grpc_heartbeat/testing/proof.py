"""The proof that declared time-outs work: each method's call meets a server that is slower than agreed, and must end in time.

::

    def test_limits_hold():
        prove_limits(contract.of_modules(shop_pb2), connect=lambda target: shop.clients.connect(target))

The server is one of ours on the loopback. It has all methods, answers with empty messages, and is late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import grpc
import grpc.aio

import grpc_heartbeat
from grpc_heartbeat.config import check_seconds
from grpc_heartbeat.contract import Contracts, MethodContract, policy_of
from grpc_heartbeat.core.contract import longer, say
from grpc_heartbeat.errors import timeout_of
from grpc_heartbeat.testing import faults

__all__ = ["Proof", "aio_prove_limits", "prove_limits"]

_AT_ONCE = 16
"""Calls that are made at the same time."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One method whose call ended in time.

    Args:
        method: Its full name.
        layer: What ended the call, ``total`` or ``idle``.
        limit: What the contract says of that, in seconds.
        elapsed: What the call took, in seconds.
        source: Where the client has its limit from.
    """

    method: str
    layer: str
    limit: float
    elapsed: float
    source: str


def prove_limits(
    contracts: Contracts,
    *,
    connect: Callable[[str], grpc.Channel] | None = None,
    call: Callable[[grpc.Channel, str], object] | None = None,
    longest: float = 10.0,
    tolerance: float = 2.0,
) -> tuple[Proof, ...]:
    """Call each method of a server that answers too late; return how each call ended. It lasts as long as the longest limit.

    Args:
        contracts: What is to hold. Of each method that streams responses the shorter one of total and idle limit is tried, of
            the others the total.
        connect: Makes a channel for an address, as the program does. Default: one with the policy of the contracts.
        call: Makes one call of a method, such as ``"shop.Orders/Place"``, and waits for its end. Called from several threads.
            Default: sends an empty message and takes all responses.
        longest: Seconds; methods with a longer limit are not tried. Default 10.
        tolerance: Seconds that a call may last longer than its limit. Default 2.

    Raises:
        AssertionError: calls were answered, or ended too late, with another status than DEADLINE_EXCEEDED, or by another
            layer. The message has a line for each.
        ValueError: there is no method to try, or a number is out of range.
    """
    tried = _tried(contracts, longest)
    make = call or (lambda channel, method: _call(channel, contracts[method]))
    opened = connect or (lambda target: grpc_heartbeat.insecure_channel(target, timeouts=policy_of(contracts)))

    def attempt(contract: MethodContract) -> Proof | str:
        began = monotonic()
        try:
            make(channel, contract.method)
        except Exception as error:
            return _judged(contract, error, monotonic() - began, tolerance)
        return _judged(contract, None, monotonic() - began, tolerance)

    with _late_server(tried, tolerance) as target, ThreadPoolExecutor(_AT_ONCE) as pool, opened(target) as channel:
        found = list(pool.map(attempt, tried))
    return _proofs(found)


async def aio_prove_limits(
    contracts: Contracts,
    *,
    connect: Callable[[str], grpc.aio.Channel] | None = None,
    call: Callable[[grpc.aio.Channel, str], Awaitable[object]] | None = None,
    longest: float = 10.0,
    tolerance: float = 2.0,
) -> tuple[Proof, ...]:
    """Do the same with asyncio's channels: ``connect`` makes one, and ``call`` is a coroutine function.

    Raises:
        AssertionError, ValueError: as ``prove_limits``.
    """
    tried = _tried(contracts, longest)
    make = call or (lambda channel, method: _aio_call(channel, contracts[method]))
    opened = connect or (lambda target: grpc_heartbeat.aio.insecure_channel(target, timeouts=policy_of(contracts)))
    free = asyncio.Semaphore(_AT_ONCE)

    async def attempt(contract: MethodContract) -> Proof | str:
        async with free:
            began = monotonic()
            try:
                await make(channel, contract.method)
            except Exception as error:
                return _judged(contract, error, monotonic() - began, tolerance)
            return _judged(contract, None, monotonic() - began, tolerance)

    with _late_server(tried, tolerance) as target:
        async with opened(target) as channel:
            found = await asyncio.gather(*map(attempt, tried))
    return _proofs(found)


def _tried(contracts: Contracts, longest: float) -> list[MethodContract]:
    check_seconds("longest", longest)
    tried = [contract for contract in contracts.values() if (limit := _limit(contract)) and limit <= longest]
    if not tried:
        raise ValueError(f"there is no method with a limit of at most {say(longest)}")
    return tried


def _proofs(found: Sequence[Proof | str]) -> tuple[Proof, ...]:
    failed = [one for one in found if isinstance(one, str)]
    if failed:
        raise AssertionError("\n  ".join(["limits that do not hold:", *failed]))
    return tuple(one for one in found if isinstance(one, Proof))


def _layers(contract: MethodContract) -> dict[str, float]:
    layers = {"total": contract.total, "idle": contract.idle if contract.streams_responses else None}
    return {layer: seconds for layer, seconds in layers.items() if seconds is not None}


def _limit(contract: MethodContract) -> float:
    """Return the limit that is over first, or 0 where there is none."""
    return min(_layers(contract).values(), default=0.0)


def _judged(contract: MethodContract, error: Any, elapsed: float, tolerance: float) -> Proof | str:
    """Return the proof, or what is wrong with how a call ended: ``error`` is what it raised, if it did."""
    method, limit = contract.method, _limit(contract)
    if error is None:
        return f"{method}: was answered after {say(elapsed)}; nothing ended it after {say(limit)}"
    if not isinstance(error, grpc.RpcError):
        return f"{method}: its call raised {error!r}"
    if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{method}: ended with {error.code().name}: {error.details()}"
    if longer(elapsed, limit + tolerance):
        return f"{method}: ended after {say(elapsed)} only; its limit is {say(limit)}"
    facts = timeout_of(error)
    expected = [layer for layer, seconds in _layers(contract).items() if not longer(seconds, limit)]
    if facts is None or facts.layer not in expected:
        by = "no limit of this library" if facts is None else f"{facts.layer} ({facts.source})"
        return f"{method}: was ended by {by}, not by its {' or '.join(expected)} limit"
    return Proof(method, facts.layer, limit, elapsed, facts.source)


def _begun(channel: Any, contract: MethodContract) -> Any:
    call = getattr(channel, _kind(contract))(f"/{contract.method}")
    return call(iter([b""]) if contract.streams_requests else b"")


def _call(channel: grpc.Channel, contract: MethodContract) -> None:
    answer = _begun(channel, contract)
    if contract.streams_responses:
        list(answer)


async def _aio_call(channel: grpc.aio.Channel, contract: MethodContract) -> None:
    answer = _begun(channel, contract)
    if contract.streams_responses:
        async for _ in answer:
            pass
    else:
        await answer


def _kind(contract: MethodContract) -> str:
    ends = (contract.streams_requests, contract.streams_responses)
    return "_".join("stream" if streams else "unary" for streams in ends)


@contextmanager
def _late_server(contracts: Sequence[MethodContract], tolerance: float) -> Iterator[str]:
    """Run a server until the block ends that has all methods, and is later with each than its limit and the tolerance."""
    late = 2 * check_seconds("tolerance", tolerance)
    plan = faults.FaultPlan(methods={one.method: faults.Fault(delay=_limit(one) + late) for one in contracts})
    interceptors = [*grpc_heartbeat.server_interceptors(), *faults.server_interceptors(plan)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        server = grpc.server(pool, interceptors=interceptors, options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers([_Methods(contracts)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


class _Methods(grpc.GenericRpcHandler):
    """Answers each method with one empty message."""

    def __init__(self, contracts: Sequence[MethodContract]) -> None:
        self._handlers = {f"/{contract.method}": _handler(contract) for contract in contracts}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(handler_call_details.method)


def _handler(contract: MethodContract) -> Any:
    make = getattr(grpc, f"{_kind(contract)}_rpc_method_handler")
    return make(
        (lambda request, context: iter([b""])) if contract.streams_responses else (lambda request, context: b"")
    )
