"""Which faults strike which calls: a plan that cannot be changed, and the count of one server's strikes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType

import grpc

from grpc_heartbeat.config import check_seconds
from grpc_heartbeat.policy import method_name

_SPARED = ("grpc_heartbeat.v1.", "grpc.health.v1.")
"""Packages that only a fault of their methods' own strikes: heartbeats and health checks say how the server is."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a call that is struck. At least one thing does.

    Args:
        delay: Seconds before the handler begins, or before the call is aborted. Default 0.
        message_delay: Seconds before each response message. Default 0.
        code: The status with which the call is aborted in place of its handler. Default: it is not.
        details: What is said then, after ``injected by FaultPlan:``. Default: the name of the method.
        never_answer: Whether nothing ever comes; the RPC lasts until its client gives up. Default: no.
        share: Share of the calls that are struck, from 0 to 1. Default 1, all.

    Raises:
        TypeError: a value is of another type.
        ValueError: a time is out of range, the share is not from 0 to 1, the code is OK, nothing happens, or two things that
            exclude each other do.
    """

    delay: float = 0.0
    message_delay: float = 0.0
    code: grpc.StatusCode | None = None
    details: str = ""
    never_answer: bool = False
    share: float = 1.0

    def __post_init__(self) -> None:
        for name in ("delay", "message_delay"):
            seconds = check_seconds(f"Fault.{name}", getattr(self, name), inclusive=True)
            object.__setattr__(self, name, seconds)
        if isinstance(self.share, bool) or not isinstance(self.share, (int, float)):
            raise TypeError(f"Fault.share must be a number, not {type(self.share).__name__} ({self.share!r})")
        if not 0 <= self.share <= 1:
            raise ValueError(f"Fault.share must be from 0 to 1; got {self.share!r}")
        if self.code is not None and not isinstance(self.code, grpc.StatusCode):
            raise TypeError(f"Fault.code must be a grpc.StatusCode, not {type(self.code).__name__} ({self.code!r})")
        if not isinstance(self.details, str):
            raise TypeError(f"Fault.details must be a string, not {type(self.details).__name__} ({self.details!r})")
        if self.code is grpc.StatusCode.OK:
            raise ValueError("Fault.code must not be OK: a call cannot be aborted with that")
        self._check_sense()

    def _check_sense(self) -> None:
        if self.details and self.code is None:
            raise ValueError("Fault.details need a code: without it the handler says how its call ends")
        if self.never_answer and (self.code is not None or self.message_delay):
            raise ValueError("Fault.never_answer excludes code and message_delay: there is no answer")
        if self.code is not None and self.message_delay:
            raise ValueError("Fault.code excludes message_delay: an aborted call has no messages")
        if not (self.delay or self.message_delay or self.never_answer or self.code is not None):
            raise ValueError("a Fault does something: give delay, message_delay, code or never_answer")

    def said(self, method: str) -> str:
        """Return the details with which a call of ``method`` is aborted."""
        return f"injected by FaultPlan: {self.details or method.removeprefix('/')}"


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Which fault strikes the calls of which method. The same seed and the same order of calls give the same strikes.

    Args:
        default: Of methods that ``methods`` does not name, those of heartbeats and health left out. Default: none.
        methods: By full name, such as ``"shop.Orders/Place"``; a leading slash may be there. ``None`` spares a method.
        seed: Decides which calls are struck where a share is less than 1. Default 0.

    Raises:
        TypeError: a fault is not a ``Fault``, or the seed is not an integer.
        ValueError: a name is not that of a method, or is given twice.
    """

    default: Fault | None = None
    methods: Mapping[str, Fault | None] = field(default_factory=dict, kw_only=True, hash=False)
    seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise TypeError(f"FaultPlan.seed must be an integer, not {type(self.seed).__name__} ({self.seed!r})")
        _check_fault("FaultPlan.default", self.default)
        if not isinstance(self.methods, Mapping):
            raise TypeError(f"FaultPlan.methods must be a mapping of names, not {type(self.methods).__name__}")
        methods: dict[str, Fault | None] = {}
        for key, fault in self.methods.items():
            name = method_name(key)
            if name in methods:
                raise ValueError(f"FaultPlan.methods has two entries for {name!r}")
            _check_fault(f"FaultPlan.methods[{key!r}]", fault)
            methods[name] = fault
        object.__setattr__(self, "methods", MappingProxyType(methods))

    def fault(self, method: str) -> Fault | None:
        """Return the fault of ``method``, or ``None`` where it is spared."""
        name = method.removeprefix("/")
        return self.methods.get(name, None if name.startswith(_SPARED) else self.default)

    def strikes(self, method: str, number: int) -> bool:
        """Return whether the ``number``-th call of ``method``, from 0, is struck."""
        fault = self.fault(method)
        if fault is None or fault.share >= 1:
            return fault is not None
        drawn = blake2b(f"{self.seed}:{method.removeprefix('/')}:{number}".encode(), digest_size=8).digest()
        return int.from_bytes(drawn, "big") < fault.share * 2**64


def _check_fault(name: str, fault: object) -> None:
    if fault is not None and not isinstance(fault, Fault):
        raise TypeError(f"{name} must be a Fault or None, not {type(fault).__name__} ({fault!r})")


class Strikes:
    """The calls of one server, counted as they arrive. From any thread."""

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._injected: Counter[str] = Counter()

    def next(self, method: str) -> Fault | None:
        """Count a call of ``method`` and return what strikes it."""
        fault = self.plan.fault(method)
        if fault is None:
            return None
        with self._lock:
            number = self._calls[method]
            self._calls[method] += 1
            struck = self.plan.strikes(method, number)
            self._injected[method] += struck
        return fault if struck else None

    def injected(self) -> dict[str, int]:
        """Return how many calls of each method were struck, by names without a leading slash."""
        with self._lock:
            return {method.removeprefix("/"): count for method, count in self._injected.items() if count}
