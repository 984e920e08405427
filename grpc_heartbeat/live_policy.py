"""A time-out policy that may be replaced while channels use it: by the program, or by the file that it came from.

Theory of operation. What holds for a method is worked out once, when its stub is made, so that calls pay nothing for where
their limits come from. Whoever has worked something out from a policy *watches* it; a policy that is replaced tells its
watchers, and they work it out anew. Calls that are under way keep the limits that they were started with.

A file is looked at by a thread of its own, because a file system can hang; what is wrong in it is told and changes nothing.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from dataclasses import dataclass
from typing import Any, NoReturn

from grpc_heartbeat import _faults
from grpc_heartbeat._timers import clock
from grpc_heartbeat._weak import listed
from grpc_heartbeat.config import Timeouts, check_seconds
from grpc_heartbeat.core.events import Event, Observer, Observers
from grpc_heartbeat.core.limits import Limits
from grpc_heartbeat.policy import PolicyWatcher, TimeoutPolicy

__all__ = ["LivePolicy", "PolicyRejected", "PolicyReplaced"]

THREAD_NAME = "grpc-heartbeat policy file"

_log = logging.getLogger("grpc_heartbeat.policy")


@dataclass(frozen=True, slots=True)
class PolicyReplaced(Event):
    """Another policy holds for the calls from now on."""

    policy: TimeoutPolicy


@dataclass(frozen=True, slots=True)
class PolicyRejected(Event):
    """The policy's file has changed and cannot be used: the policy stays as it is. ``why`` says what is wrong, and where."""

    why: str


class LivePolicy(TimeoutPolicy):
    """A policy that can be replaced; give it to channels and ``client_interceptors`` as ``timeouts=``, as any other.

    Args:
        policy: What holds until it is replaced. ``AdaptiveTimeouts`` cannot be replaced.

    Attributes:
        observers: Those who hear of ``PolicyReplaced`` and ``PolicyRejected``, in the thread that replaces it.

    Raises:
        TypeError: ``policy`` is neither ``Timeouts`` nor a plain ``TimeoutPolicy``.
    """

    __slots__ = ("__weakref__", "_file", "_lock", "_state", "_watchers", "observers")

    def __init__(self, policy: Timeouts | TimeoutPolicy) -> None:
        super().__init__()
        self.observers: Observers
        self._file: list[_File]
        self._lock: Any
        self._state: list[TimeoutPolicy]
        self._watchers: weakref.WeakSet[PolicyWatcher]
        set_once = object.__setattr__
        set_once(self, "observers", Observers(_failed))
        set_once(self, "_file", [])
        set_once(self, "_lock", threading.RLock())
        set_once(self, "_state", [_plain(policy)])
        set_once(self, "_watchers", weakref.WeakSet())

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, every: float = 5.0) -> LivePolicy:
        """Read a policy from a file, as ``TimeoutPolicy.load`` does, and again whenever the file changes, until ``close``.

        A forked child keeps what it has and does not look at the file.

        Args:
            path: A symbolic link is followed each time, as a mounted ConfigMap of Kubernetes wants it.
            every: Seconds between looks at the file, which are a ``stat`` each. Default 5.

        Raises:
            ImportError, OSError, ValueError: as ``TimeoutPolicy.load``, the first time only.
            TypeError, ValueError: ``every`` is not a number of seconds above 0.
        """
        check_seconds("every", every)
        file = _File(os.fspath(path), every)
        live = cls(file.read())
        live._file.append(file)
        file.follow(live)
        return live

    @property
    def current(self) -> TimeoutPolicy:
        """The policy that holds now."""
        return self._state[0]

    def limits(self, method: str, *, streams: bool) -> Limits:
        """Return the limits of ``method`` now."""
        return self._state[0].limits(method, streams=streams)

    def replace(self, policy: Timeouts | TimeoutPolicy) -> None:
        """Have ``policy`` hold for the calls from now on; those under way keep the limits that they have."""
        plain = _plain(policy)
        with self._lock:
            if plain == self._state[0]:
                return
            self._state[0] = plain
            for watcher in listed(lambda: self._watchers):
                watcher.policy_changed(self)
        self.observers.emit(PolicyReplaced(clock(), plain))

    def watch(self, watcher: PolicyWatcher) -> None:
        with self._lock:
            self._watchers.add(watcher)
            watcher.policy_changed(self)  # it may have been replaced since the watcher looked

    def close(self) -> None:
        """Look at the file no more. Idempotent."""
        for file in self._file:
            file.close()

    @property
    def services(self) -> Any:
        return self._state[0].services

    @property
    def methods(self) -> Any:
        return self._state[0].methods

    def _said(self) -> tuple[object, ...]:
        return self._state[0]._said()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a LivePolicy cannot be pickled or copied: those who use it watch it")

    def __repr__(self) -> str:
        return f"LivePolicy({self._state[0]!r})"


class _File:
    """The file of a policy, and the thread that looks at it."""

    def __init__(self, path: str, every: float) -> None:
        self._path = path
        self._every = every
        self._seen: tuple[int, ...] = ()
        self._rejected = ""
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def read(self) -> TimeoutPolicy:
        self._seen = self._look()
        return TimeoutPolicy.load(self._path)

    def follow(self, live: LivePolicy) -> None:
        reference = weakref.ref(live, lambda _: self._over.set())
        self._thread = threading.Thread(target=self._run, args=(reference,), name=THREAD_NAME, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self._every)

    def _run(self, reference: weakref.ref[LivePolicy]) -> None:
        while not self._over.wait(self._every):
            live = reference()
            if live is not None:
                try:
                    self._check(live)
                except Exception as error:
                    _faults.record("policy.file", error)
            del live

    def _check(self, live: LivePolicy) -> None:
        try:
            if self._look() == self._seen:
                return
            policy = self.read()
        except (OSError, ValueError, ImportError) as error:
            self._reject(live, str(error))
        else:
            self._rejected = ""
            live.replace(policy)

    def _reject(self, live: LivePolicy, why: str) -> None:
        if why != self._rejected:
            self._rejected = why
            _log.warning("the time-out policy stays as it is: %s", why)
            live.observers.emit(PolicyRejected(clock(), why))

    def _look(self) -> tuple[int, ...]:
        found = os.stat(self._path)
        return found.st_mtime_ns, found.st_size, found.st_ino


def _plain(policy: Timeouts | TimeoutPolicy) -> TimeoutPolicy:
    if isinstance(policy, Timeouts):
        return TimeoutPolicy(policy)
    if type(policy) is TimeoutPolicy:
        return policy
    raise TypeError(f"policy must be Timeouts or a TimeoutPolicy, not {type(policy).__name__} ({policy!r})")


def _failed(_observer: Observer, error: Exception) -> None:
    _faults.record("policy.observer", error)
