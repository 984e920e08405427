"""What every test gets: leak checks, a loop for ``async def``, and an environment that does not depend on the machine."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator

import grpc.aio
import hypothesis
import pytest

from grpc_heartbeat import _faults
from tests import aiorun, leaks

# Else a proxy that the machine names would get the loopback calls, and OpenTelemetry would be set up by the machine.
os.environ["no_grpc_proxy"] = "127.0.0.1,localhost,[::1]"  # noqa: SIM112 - gRPC reads it in lower case only
for name in [name for name in os.environ if name.startswith("OTEL_")]:
    del os.environ[name]

hypothesis.settings.register_profile("project", deadline=None)  # a busy machine is slow, not wrong
hypothesis.settings.load_profile("project")

# grpc.aio polls on one thread and one pair of sockets per process, from its first use on: started here, they are no
# test's leak.
grpc.aio.init_grpc_aio()

_passed = pytest.StashKey[bool]()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run ``async def`` tests."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    aiorun.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted}))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Remember that the test itself passed. (A failed one keeps its objects alive in the traceback.)"""
    yield
    item.stash[_passed] = True


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that has passed but left threads, sockets or anything else in ``leaks.PROBES`` behind."""
    watch = leaks.Watch()
    yield
    if request.node.stash.get(_passed, False) and (found := watch.leaked()):
        pytest.fail("\n".join(found), pytrace=False)


@pytest.fixture(autouse=True)
def no_internal_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test during which the library caught an exception of its own, unless it is marked ``internal_faults``."""
    before = _faults.counts()
    yield
    if request.node.get_closest_marker("internal_faults") is None:
        new = {place: count - before.get(place, 0) for place, count in _faults.counts().items()}
        assert not any(new.values()), f"internal faults: {new} (see the log)"
