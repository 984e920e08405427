"""What every test gets: leak checks, a loop for ``async def`` tests, and an environment that does not depend on the machine."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator

import hypothesis
import pytest

from tests import aiorun, leaks

# gRPC would send loopback calls through a proxy that the machine names; OpenTelemetry would take its settings from here.
os.environ["no_grpc_proxy"] = "127.0.0.1,localhost,[::1]"
for name in [name for name in os.environ if name.startswith("OTEL_")]:
    del os.environ[name]

hypothesis.settings.register_profile("project", deadline=None)  # a busy machine is slow, not wrong
hypothesis.settings.load_profile("project")

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
