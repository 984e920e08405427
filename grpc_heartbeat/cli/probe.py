"""Sends single beats to a server, at the highest level that the server supports.

Theory of operation. There are three levels, tried from the top:

1. ``HEARTBEAT``: ``grpc_heartbeat.v1.Heartbeat/Ping``. The answer names the peer and says whether it accepts work.
2. ``HEALTH``: ``grpc.health.v1.Health/Check``. The answer says whether it accepts work.
3. ``BARE``: the same call, to a server that does not implement it. UNIMPLEMENTED is an answer: a gRPC server sent it,
   so the round trip counts, but nothing is known about the server's health.

A server without a level answers UNIMPLEMENTED; the probe steps down for good and repeats the beat one level lower, so
that a round-trip time always belongs to the level that is reported with it. Asking about a named health service starts
at ``HEALTH``, because a beat asks about the whole process.

The connection is waited for before the clock of a beat starts, so that the first round trip holds no DNS, TCP or TLS.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

from grpc_heartbeat.cli.explain import comes_from_application, explain, shorten
from grpc_heartbeat.v1 import heartbeat_pb2


class Level(enum.Enum):
    """What the server is asked; the value is the method's full name."""

    HEARTBEAT = "grpc_heartbeat.v1.Heartbeat/Ping"
    HEALTH = "grpc.health.v1.Health/Check"
    BARE = "bare gRPC"


@dataclass(frozen=True, slots=True)
class Way:
    """What the peer is asked by where that is a strategy, in the place of a :class:`Level`."""

    name: str

    @property
    def value(self) -> str:
        """The strategy's name, for reports."""
        return self.name


Asked: TypeAlias = Level | Way

_NEXT_LEVEL = {Level.HEARTBEAT: Level.HEALTH, Level.HEALTH: Level.BARE}


@dataclass(frozen=True, slots=True)
class Reply:
    """What an answer says about the peer: its status, and with a heartbeat who it is and how busy (see ``Load``).

    ``status`` is a serving status, or the code of a call that the server refused; then ``message`` says more. It is empty where
    the answer has no words for it.
    """

    status: str
    message: str = ""
    service: str = ""
    zone: str = ""
    instance: str = ""
    load: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answered:
    """A beat that a peer answered ``round_trip`` seconds after it was sent."""

    sequence: int
    level: Asked
    round_trip: float
    reply: Reply


@dataclass(frozen=True, slots=True)
class Lost:
    """A beat that nobody answered, the status of the call, and why in one line."""

    sequence: int
    level: Asked
    code: str
    reason: str


class MismatchError(Exception):
    """The peer's ack is for another beat."""


class Probe:
    """Beats to one server, one at a time.

    Args:
        channel: An open channel; the caller closes it.
        service: Name for ``grpc.health.v1``, or ``None`` to ask about the whole process, by heartbeat where possible.
        tls: Whether the channel uses TLS; only for the wording of failures.
        on_step_down: Called with the level that the server lacks and the one that is used from now on.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        service: str | None,
        tls: bool,
        on_step_down: Callable[[Level, Level], None],
    ) -> None:
        self.level = Level.HEARTBEAT if service is None else Level.HEALTH
        self._channel = channel
        self._service = service or ""
        self._tls = tls
        self._on_step_down = on_step_down
        self._ping: grpc.aio.UnaryUnaryMultiCallable[heartbeat_pb2.Beat, heartbeat_pb2.Ack] = channel.unary_unary(
            f"/{Level.HEARTBEAT.value}", heartbeat_pb2.Beat.SerializeToString, heartbeat_pb2.Ack.FromString
        )
        self._check: grpc.aio.UnaryUnaryMultiCallable[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse] = (
            channel.unary_unary(
                f"/{Level.HEALTH.value}",
                health_pb2.HealthCheckRequest.SerializeToString,
                health_pb2.HealthCheckResponse.FromString,
            )
        )

    async def beat(self, sequence: int, timeout: float) -> Answered | Lost:
        """Send the beat ``sequence`` and wait at most ``timeout`` seconds for the connection and the answer."""
        end = time.monotonic() + timeout
        if not await self._connected(end):
            return Lost(sequence, self.level, "DEADLINE_EXCEEDED", f"no connection within {timeout:g} s")
        while True:
            started = time.monotonic()
            try:
                reply = await self._ask(sequence, max(end - started, 0.001))
            except MismatchError as error:
                return Lost(sequence, self.level, "OK", str(error))
            except grpc.aio.AioRpcError as error:
                if self._stepped_down(error):
                    continue
                return self._judge(sequence, error, started, timeout)
            return Answered(sequence, self.level, time.monotonic() - started, reply)

    async def _connected(self, end: float) -> bool:
        """Whether the attempt to connect has an outcome; a failed one is told by the call that follows."""
        state = self._channel.get_state(try_to_connect=True)
        while state in (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING):
            if not await self._state_changed(state, end):
                return False
            state = self._channel.get_state(try_to_connect=True)
        return True

    async def _state_changed(self, state: grpc.ChannelConnectivity, end: float) -> bool:
        """Not ``asyncio.wait_for``: before Python 3.12 it loses a cancellation that meets the change, and so Ctrl-C."""
        change = asyncio.ensure_future(self._channel.wait_for_state_change(state))
        try:
            await asyncio.wait([change], timeout=max(0.0, end - time.monotonic()))
            return change.done()
        finally:
            change.cancel()

    def _ask(self, sequence: int, timeout: float) -> Awaitable[Reply]:
        if self.level is Level.HEARTBEAT:
            return self._ask_heartbeat(sequence, timeout)
        return self._ask_health(timeout)

    async def _ask_heartbeat(self, sequence: int, timeout: float) -> Reply:
        beat = heartbeat_pb2.Beat(sequence=sequence, type=heartbeat_pb2.BEAT_TYPE_READINESS)
        ack = await self._ping(beat, timeout=timeout)
        if ack.sequence != sequence:
            raise MismatchError(f"the ack is for beat {ack.sequence}, not {sequence}")
        status = _enum_name(heartbeat_pb2.ServingStatus.Name, ack.serving_status).removeprefix("SERVING_STATUS_")
        load = {descriptor.name: value for descriptor, value in ack.load.ListFields()}
        sender = ack.sender
        return Reply(status, service=sender.service, zone=sender.zone, instance=sender.instance, load=load)

    async def _ask_health(self, timeout: float) -> Reply:
        response = await self._check(health_pb2.HealthCheckRequest(service=self._service), timeout=timeout)
        return Reply(_enum_name(health_pb2.HealthCheckResponse.ServingStatus.Name, response.status))

    def _stepped_down(self, error: grpc.aio.AioRpcError) -> bool:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED or self.level not in _NEXT_LEVEL:
            return False
        if not comes_from_application(error.code(), error.details()):
            return False
        missing, self.level = self.level, _NEXT_LEVEL[self.level]
        self._on_step_down(missing, self.level)
        return True

    def _judge(self, sequence: int, error: grpc.aio.AioRpcError, started: float, timeout: float) -> Answered | Lost:
        code, details = error.code(), error.details()
        if comes_from_application(code, details):
            reply = Reply(code.name, self._refusal(code, details))
            return Answered(sequence, self.level, time.monotonic() - started, reply)
        return Lost(sequence, self.level, code.name, explain(code, details, timeout=timeout, tls=self._tls))

    def _refusal(self, code: grpc.StatusCode, details: str | None) -> str:
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return ""
        if code is grpc.StatusCode.NOT_FOUND and self.level is Level.HEALTH:
            return f"the server knows no health service named {self._service!r}"
        return shorten(details or "")


def _enum_name(name_of: Callable[[Any], str], number: int) -> str:
    """Return the name of a protobuf enum's value, or the number if a newer peer sent one that is not known here."""
    try:
        return name_of(number)
    except ValueError:
        return str(number)
