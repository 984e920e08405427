"""Rules and dashboards ask for metrics that exist, and promtool finds nothing wrong with them."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import Meter

from tests.deploy.exported import names, page, samples
from tests.deploy.files import DEPLOY, PROMETHEUS, RULES, asked_for, dashboards, expressions, labels_of, panels, rules
from tests.programs import program

OF_PROMETHEUS = {"up", "ALERTS"}
PARTS = ("_bucket", "_count", "_sum")


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


def promtool(*arguments: str, folder: Path = PROMETHEUS) -> subprocess.CompletedProcess[str]:
    command = [program("promtool", "Debian: prometheus"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def metrics_in_docs() -> list[list[str]]:
    """Return the cells of the table of metrics: name, name in Prometheus, kind, labels, meaning."""
    page = (DEPLOY.parent / "docs" / "metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| (`(?:health|grpc_heartbeat).*) \|$", page, re.MULTILINE)
    return [[cell.strip() for cell in row.split(" | ")] for row in rows]


@pytest.mark.parametrize(
    ("expression", "series"),
    [
        ("up == 0", {"up"}),
        ('sum by (a, le) (rate(x_total{b="y", c!~"z"}[5m])) > 10', {"x_total"}),
        ("histogram_quantile(0.9, a:b:c) or 0 * on (x) d", {"a:b:c", "d"}),
        ('label_replace(a{x="rate(b)"}, "c", "$1", "d", "(.*)") unless e', {"a", "e"}),
    ],
)
def test_the_reader_of_expressions(expression: str, series: set[str]) -> None:
    assert asked_for(expression) == series


def test_the_exporter_names_the_metric_of_beats_as_promised() -> None:
    assert {"health_check_duration_seconds" + part for part in PARTS} <= names()
    assert not [name for name in names() if "seconds_seconds" in name]


def test_docs_list_the_metrics_under_the_names_that_the_exporter_gives() -> None:
    listed = {_family(cells[1] if cells[1].startswith("`") else cells[0]) for cells in metrics_in_docs()}
    assert listed == {_family(name) for name in names()}


def test_rules_and_dashboards_ask_for_labels_that_metrics_have() -> None:
    documented = {label for cells in metrics_in_docs() for label in re.findall(r"`(\w+)`", cells[3])}
    everywhere = {"job", "instance", "le", "alertname", "alertstate"}
    asked = [rule["expr"] for rule in rules()]
    asked += [expression for dashboard in dashboards().values() for expression in expressions(dashboard)]
    used = {label for expression in asked for label in labels_of(expression)}
    assert used - documented - everywhere == set()
    assert {"service", "zone", "status", "layer", "cause", "verdict", "side", "kind", "engine", "driver"} <= used


def test_rules_ask_for_metrics_that_exist() -> None:
    known = names() | recorded() | OF_PROMETHEUS
    asked = {series for rule in rules() for series in asked_for(rule["expr"])}
    assert asked - known == set()
    assert len(asked) > 8


@pytest.mark.skipif(
    "explicit_bucket_boundaries_advisory" not in inspect.signature(Meter.create_histogram).parameters,
    reason="OpenTelemetry before 1.30 leaves buckets to the application",
)
def test_beats_have_buckets_that_quantiles_can_be_read_from() -> None:
    bounds = {sample.labels["le"] for sample in samples() if sample.name == "health_check_duration_seconds_bucket"}
    assert {"0.001", "0.5", "1.0", "+Inf"} <= bounds


@pytest.mark.parametrize("name", sorted(dashboards()))
def test_a_dashboard_asks_for_metrics_that_exist_and_shows_all_of_them(name: str) -> None:
    asked = {series for expression in expressions(dashboards()[name]) for series in asked_for(expression)}
    assert asked - (names() | recorded() | OF_PROMETHEUS) == set()
    behind = {series for rule in rules() if rule.get("record") in asked for series in asked_for(rule["expr"])}
    assert {_family(series) for series in names()} - {_family(series) for series in asked | behind} == set()


def _family(series: str) -> str:
    return re.sub("(_bucket|_count|_sum)$", "", series.strip("`"))


@pytest.mark.parametrize("name", sorted(dashboards()))
def test_a_dashboard_is_well_formed(name: str) -> None:
    dashboard = dashboards()[name]
    everything = dashboard["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    assert len({panel["title"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        cells = _cells(panel["gridPos"])
        assert max(x for x, _ in cells) < 24
        assert not taken & cells, panel["title"]
        taken |= cells
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(dashboard)))
    assert used == variables
    assert all(target["refId"] for panel in panels(dashboard) for target in panel["targets"])


def _cells(place: dict[str, Any]) -> set[tuple[int, int]]:
    columns = range(place["x"], place["x"] + place["w"])
    return {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}


def test_alerts_say_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len({alert["alert"] for alert in alerts}) == len(alerts) > 5
    for alert in alerts:
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert alert["annotations"]["summary"]
        assert alert["annotations"]["description"]
        assert alert["for"]


def test_every_rule_is_tried() -> None:
    tried = (PROMETHEUS / "rules_test.yaml").read_text("utf-8")
    quantiles = {"service_type_zone:health_check_duration_seconds:p99_rate5m": "HeartbeatSlow"}
    quantiles["method:grpc_heartbeat_server_queue_delay_seconds:p99_rate5m"] = "RequestsQueue"
    for rule in rules():
        name: str = rule.get("alert") or rule["record"]
        assert quantiles.get(name, name) in tried, name


@pytest.mark.peers
def test_promtool_checks_the_configuration_and_the_rules() -> None:
    for arguments in (("check", "config", "prometheus.yaml"), ("check", "rules", *RULES)):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.peers
def test_promtool_finds_names_units_and_descriptions_as_they_should_be() -> None:
    command = [program("promtool", "Debian: prometheus"), "check", "metrics"]
    done = subprocess.run(command, input=page(), capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.peers
def test_rules_say_what_they_should() -> None:
    done = promtool("test", "rules", "rules_test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.peers
@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("recording.yaml", 'rate1m{status="missed"}', 'rate1m{status="lost"}'),
        ("alerts.yaml", 'state="down"', 'state="late"'),
        ("alerts.yaml", "for: 30s", "for: 90s"),
        ("alerts.yaml", 'verdict="stuck"', 'verdict="late"'),
        ("alerts.yaml", 'verdict="overloaded"', 'verdict="late"'),
        ("alerts.yaml", "(grpc_heartbeat_breakers)", '(grpc_heartbeat_breakers{state="open"})'),
        ("alerts.yaml", 'kind="first"', 'kind="again"'),
        ("alerts.yaml", 'event="refused"', 'event="opened"'),
        ("recording.yaml", "by (job, instance, driver)", "by (job, instance)"),
    ],
)
def test_the_tests_of_the_rules_find_a_wrong_one(tmp_path: Path, file: str, right: str, wrong: str) -> None:
    for name in (*RULES, "rules_test.yaml"):
        (tmp_path / name).write_text((PROMETHEUS / name).read_text("utf-8"), "utf-8")
    text = (tmp_path / file).read_text("utf-8")
    assert right in text
    (tmp_path / file).write_text(text.replace(right, wrong), "utf-8")
    assert promtool("test", "rules", "rules_test.yaml", folder=tmp_path).returncode != 0


@pytest.mark.peers
@pytest.mark.parametrize("name", sorted(dashboards()))
def test_prometheus_understands_what_a_dashboard_asks(tmp_path: Path, name: str) -> None:
    records = [
        {"record": "r", "expr": each, "labels": {"n": str(i)}} for i, each in enumerate(expressions(dashboards()[name]))
    ]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "g", "rules": records}]}), "utf-8")
    done = promtool("check", "rules", "rules.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_files_that_the_page_names_exist() -> None:
    page = (DEPLOY / "README.md").read_text("utf-8")
    for name in re.findall(r"\((prometheus/[\w.]+|grafana/[\w.-]+)\)", page):
        assert (DEPLOY / name).is_file(), name
