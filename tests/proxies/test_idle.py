"""Behind four proxies that cut what idles for two seconds: streams kept alive from inside live on, others name the proxy."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.proxies.lives import LIFE, STACKS, STREAMS, End, Ends, through
from tests.proxies.proxies import IDLE_LIMIT, NAMES, SLOWEST_ANSWER

pytestmark = [pytest.mark.peers, pytest.mark.slow]

every_proxy = pytest.mark.parametrize("proxy", NAMES)
both_stacks = pytest.mark.parametrize("stack", STACKS)
every_stream = pytest.mark.parametrize("stream", STREAMS)


@pytest.fixture(scope="module")
def all_ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[Ends]]:
    """Start the calls through all proxies at once, and wait for their ends."""
    folders: dict[str, Path] = {name: tmp_path_factory.mktemp(name) for name in NAMES}
    with ThreadPoolExecutor(len(NAMES)) as pool:
        return {name: pool.submit(through, name, folder) for name, folder in folders.items()}


@pytest.fixture
def ends(all_ends: dict[str, Future[Ends]], proxy: str) -> Ends:
    return all_ends[proxy].result()  # raises the skip where the proxy is not there


@every_proxy
@both_stacks
@every_stream
def test_a_stream_that_is_kept_alive_from_inside_lives(ends: Ends, proxy: str, stack: str, stream: str) -> None:
    end = ends[stack, stream, True]
    assert end.status == "OK", end
    assert end.elapsed > LIFE - 1
    assert end.messages == ((b"first,second",) if stream == "stream_unary" else (b"first", b"second"))


@every_proxy
@both_stacks
@every_stream
def test_one_that_is_not_is_cut_and_the_error_names_the_proxy(ends: Ends, proxy: str, stack: str, stream: str) -> None:
    end = ends[stack, stream, False]
    assert end.layer == "proxy", end
    assert IDLE_LIMIT - 0.5 < end.elapsed < LIFE - 1
    assert "inband=InbandPolicy(…)" in end.details


@every_proxy
@both_stacks
def test_a_server_that_is_slow_to_accept_is_told_from_one_that_is_not_there(ends: Ends, proxy: str, stack: str) -> None:
    end = ends[stack, "slow", False]
    assert (end.status, end.layer) == ("UNAVAILABLE", "proxy"), end
    assert "by a limit of its own" in end.details
    assert "upstream request timeout" in end.details if proxy == "envoy" else "504" in end.details


@both_stacks
@pytest.mark.parametrize("proxy", ["envoy"])
def test_a_deadline_that_a_proxy_has_shortened_is_honoured_and_told(ends: Ends, proxy: str, stack: str) -> None:
    end: End = ends[stack, "timed", False]
    # The server got the shorter deadline, so the two of them end the call at the same time.
    assert end.status in ("DEADLINE_EXCEEDED", "INTERNAL"), end
    assert end.layer in ("proxy", "total"), end
    assert "was not spent" in end.details or "proxy" in end.details
    assert SLOWEST_ANSWER - 0.1 < end.elapsed < IDLE_LIMIT
