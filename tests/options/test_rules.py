"""The rules one by one: what each finds, what it leaves alone, and that gRPC really does what a finding says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.options import Enforcement, check_options, client_options, keepalive_pair, server_options
from grpc_heartbeat.options.catalogue import options
from grpc_heartbeat.options.findings import Finding, Report
from grpc_heartbeat.options.profiles import PROFILES
from tests.peers import PATIENCE, SyncServer, path

UNARY = path("UnaryUnary")


def only(report: Report, rule: str) -> Finding:
    (finding,) = [finding for finding in report.findings if finding.rule == rule]
    return finding


def client_rules(**values: object) -> set[str]:
    return check_options(client={f"grpc.{name}": value for name, value in values.items()}).rules()


def server_rules(**values: object) -> set[str]:
    return check_options(server={f"grpc.{name}": value for name, value in values.items()}).rules()


@pytest.fixture
def target() -> Iterator[str]:
    server = SyncServer({"UnaryUnary": lambda request, context: b"x" * 100})
    yield server.target
    server.close()


def outcome(target: str, name: str, value: object) -> str:
    """Make one call on a channel with one option; return the status or the exception."""
    try:
        with grpc.insecure_channel(target, options=[(name, value), ("grpc.use_local_subchannel_pool", 1)]) as channel:
            call: Any = channel.unary_unary(UNARY)
            try:
                call(b"", timeout=PATIENCE)
            except grpc.RpcError as error:
                return str(error.code().name)
            return "OK"
    except (TypeError, OverflowError) as error:
        return type(error).__name__


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_built_has_nothing_to_find(profile: Any) -> None:
    report = check_options(client=client_options(profile), server=server_options(profile), detect_within=260)
    assert report.findings == ()
    assert report.prediction.in_call.outcome == report.prediction.without_calls.outcome == "survives"
    pair = keepalive_pair(profile)
    assert check_options(client=pair.client, server=pair.server).findings == ()


@given(st.floats(1, 3600), st.floats(0.1, 600), st.booleans())
def test_no_pair_ends_in_goaway(time: float, timeout: float, permit: bool) -> None:
    pair = keepalive_pair(keepalive_time=time, keepalive_timeout=timeout, permit_without_calls=permit)
    report = check_options(client=pair.client, server=pair.server)
    assert report.ok
    assert report.prediction.in_call.outcome == report.prediction.without_calls.outcome == "survives"
    noticed = report.prediction.detection.client_in_call["process frozen"]
    assert noticed == pytest.approx(time + timeout, abs=0.002)


def test_gRPC_ignores_what_the_checker_calls_unknown(target: str) -> None:  # noqa: N802 - its name
    assert outcome(target, "grpc.max_receive_message_length", 10) == "RESOURCE_EXHAUSTED"
    assert outcome(target, "grpc.max_message_length", 10) == "OK"
    assert client_rules(max_message_length=10) == {"unknown-option"}


@pytest.mark.parametrize(
    ("value", "expected", "advice"),
    [
        (10.0, "OK", "Write 10."),
        ("10", "OK", "Write 10."),
        (b"10", "OK", "Write 10."),
        (None, "TypeError", "Write a whole number."),
        ([10], "TypeError", "Write a whole number."),
    ],
)
def test_a_value_of_another_type_is_not_used(target: str, value: Any, expected: str, advice: str) -> None:
    """Were it used, a limit of 10 bytes would end the call."""
    assert outcome(target, "grpc.max_receive_message_length", value) == expected
    finding = only(check_options(client={"grpc.max_receive_message_length": value}), "wrong-type")
    assert finding.severity == "error"
    assert str(finding).endswith(advice)


def test_a_number_beyond_32_bits_raises(target: str) -> None:
    for value in (4 * 1024**3, 2**31, -(2**31) - 1):
        assert outcome(target, "grpc.max_receive_message_length", value) == "OverflowError"
        assert client_rules(max_receive_message_length=value) == {"out-of-range"}
    assert outcome(target, "grpc.max_receive_message_length", 2**31 - 1) == "OK"
    assert client_rules(max_receive_message_length=2**31 - 1) == set()


def test_flags_texts_and_pointers() -> None:
    assert client_rules(enable_retries=True) == set()
    assert client_rules(enable_retries=2) == {"wrong-type"}
    assert client_rules(enable_retries="yes") == {"wrong-type"}
    assert client_rules(primary_user_agent=3) == {"wrong-type"}
    assert client_rules(primary_user_agent=b"me") == set()
    assert client_rules(resource_quota=3) == {"wrong-type"}
    assert client_rules(per_rpc_retry_buffer_size=True) == {"wrong-type"}
    assert server_rules(max_connection_idle_ms=-1) == {"out-of-range", "slow-server"}


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("grpc.keepalive_time_ms", 30, "30000"),
        ("grpc.keepalive_timeout_ms", 10, "10000"),
        ("grpc.http2.ping_timeout_ms", 5, "5000"),
        ("grpc.client_idle_timeout_ms", 300, "300000"),
        ("grpc.min_reconnect_backoff_ms", 5, "5000"),
        ("grpc.dns_ares_query_timeout", 10, "10000"),
    ],
)
def test_seconds_for_milliseconds(name: str, value: int, advice: str) -> None:
    finding = only(check_options(client={name: value}), "wrong-unit")
    assert finding.severity == "error"
    assert finding.advice.endswith(f"write {advice}")
    assert "wrong-unit" not in check_options(client={name: value * 1000}).rules()


def test_zero_is_off_where_grpc_says_so() -> None:
    assert "wrong-unit" not in client_rules(dns_ares_query_timeout=0)
    assert "wrong-unit" in client_rules(keepalive_time_ms=0)


def test_the_wrong_side_both_ways() -> None:
    assert client_rules(max_connection_age_ms=60_000, max_connection_age_grace_ms=60_000) == {"wrong-side"}
    assert server_rules(max_reconnect_backoff_ms=5000) == {"wrong-side", "slow-server"}
    finding = only(check_options(server={"grpc.service_config": "{}"}), "wrong-side")
    assert finding.advice == "Give it to the client"


def test_names_of_others_are_left_alone() -> None:
    report = check_options(client={"my.plugin.depth": 3})
    assert (report.ok, report.rules()) == (True, {"foreign-option"})
    assert check_options(client={"SingleThreadedUnaryStream": 1}).findings == ()


def test_doubles_and_things_for_tests() -> None:
    twice = [("grpc.max_metadata_size", 9000), ("grpc.max_metadata_size", 8000)]
    assert only(check_options(client=twice), "duplicate").message.endswith("the first one counts")
    assert client_rules(ssl_target_name_override="localhost") == {"test-only"}
    assert "not-everywhere" in client_rules(security_frame_allowed=1)
    assert client_rules(**{"http2.min_time_between_pings_ms": 5000}) == {"no-effect"}


def test_the_first_of_equal_names_counts(target: str) -> None:
    twice = [("grpc.max_receive_message_length", 1000), ("grpc.max_receive_message_length", 10)]
    with grpc.insecure_channel(target, options=twice) as channel:
        call: Any = channel.unary_unary(UNARY)
        assert len(call(b"", timeout=PATIENCE)) == 100
    keepalive = [("grpc.keepalive_time_ms", 1000), ("grpc.keepalive_time_ms", 600_000)]
    assert check_options(client=keepalive, server={}).prediction.in_call.outcome == "goaway"
    assert (
        "duplicate"
        not in check_options(client=[("grpc.primary_user_agent", "a"), ("grpc.primary_user_agent", "b")]).rules()
    )


def test_keepalive_that_is_off_or_half_set() -> None:
    assert client_rules(keepalive_permit_without_calls=1) == {"keepalive-off"}
    assert client_rules(keepalive_time_ms=2**31 - 1, keepalive_timeout_ms=5000) == {"keepalive-off"}
    complete = {"http2.ping_timeout_ms": 5000, "http2.max_pings_without_data": 0}
    assert client_rules(keepalive_time_ms=600_000 - 20_000, **complete) == set()
    assert client_rules(keepalive_time_ms=700_000, **complete) == {"too-slow"}
    assert client_rules(keepalive_time_ms=580_000, keepalive_timeout_ms=2**31 - 1, **complete) == {
        "frozen-peer",
        "too-slow",
    }
    assert client_rules(keepalive_time_ms=580_000, **{"http2.max_pings_without_data": 0}) == {"frozen-peer"}
    assert server_rules(keepalive_time_ms=60_000) == {"frozen-peer"}
    assert server_rules(keepalive_time_ms=2**31 - 1, **{"http2.ping_timeout_ms": 5000}) == {"too-slow"}


def test_a_client_that_sleeps_before_it_pings() -> None:
    complete = {"http2.ping_timeout_ms": 5000, "http2.max_pings_without_data": 0, "keepalive_permit_without_calls": 1}
    rules = client_rules(keepalive_time_ms=400_000, client_idle_timeout_ms=300_000, **complete)
    assert "idle-before-ping" in rules


def test_connection_limits() -> None:
    assert client_rules(min_reconnect_backoff_ms=3000) == {"connect-limit-grows"}
    assert client_rules(max_reconnect_backoff_ms=3000) == {"connect-limit-missing"}
    assert client_rules(min_reconnect_backoff_ms=3000, max_reconnect_backoff_ms=3000) == set()
    assert client_rules(max_metadata_size=20_000, absolute_max_metadata_size=10_000) == {"metadata-limits"}


def test_ages() -> None:
    assert "grace-without-age" in server_rules(max_connection_age_grace_ms=5000)
    assert "age-without-grace" in server_rules(max_connection_age_ms=5000)
    both = server_rules(max_connection_age_ms=5000, max_connection_age_grace_ms=5000)
    assert not both & {"grace-without-age", "age-without-grace"}
    assert "no-enforcement" in server_rules(**{"http2.max_ping_strikes": 0})


def test_messages_that_the_other_end_refuses() -> None:
    large, limit = 8 * 2**20, "grpc.max_receive_message_length"
    send = {"grpc.max_send_message_length": large}
    assert "message-size" not in check_options(client=send).rules()
    assert only(check_options(client=send, server={}), "message-size").end == "client"
    assert only(check_options(client={}, server=send), "message-size").end == "server"
    assert "message-size" not in check_options(client=send, server={limit: large}).rules()
    assert "message-size" not in check_options(client=send, server={limit: -1}).rules()
    assert "message-size" in check_options(client={"grpc.max_send_message_length": -1}, server={limit: large}).rules()


def test_a_server_that_is_not_known_makes_a_goaway_a_warning() -> None:
    client = client_options(keepalive_time=10)
    assert only(check_options(client=client), "too-many-pings").severity == "warning"
    assert only(check_options(client=client, server={}), "too-many-pings").severity == "error"
    assert check_options(client=client, server=server_options()).findings == ()
    go = Enforcement(min_interval=5, permit_without_calls=True)
    assert check_options(client=client, server=go).findings == ()


def test_one_cause_is_said_once() -> None:
    client = client_options(keepalive_time=2)
    report = check_options(client=client, server=server_options(min_client_interval=5))
    assert report.prediction.in_call == report.prediction.without_calls
    assert {finding.rule for finding in report.errors} == {"too-many-pings"}


def test_detection_in_time_can_be_asked_for() -> None:
    slow, server = client_options(keepalive_time=30, keepalive_timeout=10), server_options()
    assert check_options(client=slow, server=server, detect_within=40).ok
    late = check_options(client=slow, server=server, detect_within=20)
    assert [finding.message.partition(":")[0] for finding in late.errors] == ["host gone", "process frozen"]
    with pytest.raises(ValueError, match="detect_within must be more than 0"):
        check_options(client=slow, detect_within=0)


def test_wrong_arguments() -> None:
    for wrong in ("grpc.keepalive_time_ms", 3, [("grpc.keepalive_time_ms",)], ["ab"]):
        with pytest.raises(TypeError, match="client must be pairs of name and value"):
            check_options(client=wrong)  # type: ignore[arg-type] # what is refused
    assert only(check_options(client=[(3, 4)]), "wrong-type").entry == 0  # type: ignore[list-item] # as above


def test_enforcement_is_checked() -> None:
    with pytest.raises(ValueError, match=r"Enforcement\.min_interval"):
        Enforcement(min_interval=-1)
    with pytest.raises(TypeError, match=r"Enforcement\.permit_without_calls"):
        Enforcement(permit_without_calls=1)  # type: ignore[arg-type] # what is refused
    with pytest.raises(TypeError, match=r"Enforcement\.max_strikes"):
        Enforcement(max_strikes=2.0)  # type: ignore[arg-type] # as above
    with pytest.raises(ValueError, match=r"Enforcement\.max_strikes"):
        Enforcement(max_strikes=-1)


@given(st.dictionaries(st.sampled_from(sorted(options())), st.one_of(st.integers(), st.text(), st.floats(), st.none())))
def test_no_options_make_the_checker_fail(values: dict[str, object]) -> None:
    for report in (
        check_options(client=values),
        check_options(server=values),
        check_options(client=values, server=values),
    ):
        assert json.loads(json.dumps(report.as_dict()))["ok"] == report.ok
        assert str(report).count("\n") >= 4


def test_a_report_in_words_and_as_data() -> None:
    report = check_options(client={"grpc.keepalive_time_ms": 1000, "grpc.http2.max_pings_without_data": 0}, server={})
    assert "a quiet call ends with GOAWAY too_many_pings after 3 s to 5 s of silence" in str(report)
    assert "a C-core client would settle at a PING every 8 min 32 s" in str(report)
    data = report.as_dict()
    assert data["prediction"]["in_call"] == {"outcome": "goaway", "earliest": 3.0, "latest": 5.0, "settles": 512.0}
    assert data["prediction"]["detection_seconds"]["client_in_call"]["handler wedged"] is None
    assert [finding["severity"] for finding in data["findings"]] == ["error", "warning", "note"]


RETRY = {
    "maxAttempts": 3,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def method(**fields: Any) -> str:
    return json.dumps({"methodConfig": [{"name": [{}], **fields}]})


def retry(**fields: Any) -> str:
    return method(retryPolicy={**RETRY, **fields})


REFUSED = [
    "{",
    "[]",
    "3",
    '{"methodConfig": 3}',
    '{"methodConfig": [3]}',
    method(timeout=5),
    method(timeout="5"),
    method(timeout="soon"),
    method(retryPolicy=3),
    retry(maxAttempts=1),
    retry(initialBackoff=0.1),
    retry(maxBackoff="1"),
    retry(backoffMultiplier=0),
    retry(backoffMultiplier=None),
    retry(retryableStatusCodes=[]),
    retry(retryableStatusCodes=["UNAVAILIBLE"]),
    '{"methodConfig": [{"name": [{}]}, {"name": [{}]}]}',
    '{"methodConfig": [{"name": [{"method": "M"}]}]}',
    '{"loadBalancingConfig": [{"nothing": {}}]}',
    '{"loadBalancingConfig": {"round_robin": {}}}',
]
IGNORED = [
    method(timeOut="5s"),
    '{"methodConfig": [{"timeout": "5s"}]}',
    retry(maxAttempt=3),
    '{"methodconfig": []}',
    '{"healthCheckConfig": {"serviceName": ""}}',
]


@pytest.mark.parametrize("text", REFUSED)
def test_grpc_refuses_every_call_of_a_channel_with_it(target: str, text: str) -> None:
    assert outcome(target, "grpc.service_config", text) not in ("OK", "DEADLINE_EXCEEDED")
    (finding, *_) = check_options(client={"grpc.service_config": text}).errors
    assert finding.rule == "service-config"
    assert "every call of the channel fails" in finding.message


@pytest.mark.parametrize("text", IGNORED)
def test_grpc_ignores_it(target: str, text: str) -> None:
    assert outcome(target, "grpc.service_config", text) == "OK"
    report = check_options(client={"grpc.service_config": text})
    assert report.errors
    assert "every call of the channel fails" not in report.errors[0].message


def test_service_configs_that_are_right(target: str) -> None:
    for text in (
        "{}",
        retry(),
        retry(maxAttempts=5),
        method(waitForReady=True),
        '{"loadBalancingPolicy": "ROUND_ROBIN"}',
    ):
        assert outcome(target, "grpc.service_config", text) == "OK"
        assert check_options(client={"grpc.service_config": text}).findings == ()


def test_options_that_turn_a_service_config_off() -> None:
    assert client_rules(service_config=retry(), enable_retries=0) == {"retries-off"}
    healthy = '{"healthCheckConfig": {"serviceName": ""}, "loadBalancingConfig": [{"round_robin": {}}]}'
    assert client_rules(service_config=healthy) == set()
    assert client_rules(service_config=healthy, inhibit_health_checking=1) == {"health-off"}
    assert client_rules(service_config=retry(retryableStatusCodes=["DEADLINE_EXCEEDED"])) == {"service-config"}
