"""The files in ``deploy/``, and what their expressions ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULES = ("recording.yaml", "alerts.yaml")

_NOT_NAMES = re.compile(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)')
_NAME = re.compile(r"[a-zA-Z_:][\w:]*(?!\w*\s*\()")
_WORDS = {"and", "or", "unless", "bool", "offset", "by"}


def rules() -> list[dict[str, Any]]:
    """Return every recording rule and alert."""
    files = [yaml.safe_load((PROMETHEUS / name).read_text("utf-8")) for name in RULES]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards by the names of their files."""
    return {path.name: json.loads(path.read_text("utf-8")) for path in (DEPLOY / "grafana").glob("*.json")}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(dashboard: dict[str, Any]) -> Iterator[str]:
    """Yield what a dashboard asks Prometheus, with values for its variables."""
    asked = [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
    asked += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    for expression in asked:
        yield re.sub(r"\$\w+", ".*", expression.replace("$__rate_interval", "1m"))


def asked_for(expression: str) -> set[str]:
    """Return the names of the time series that an expression asks for."""
    bare = _NOT_NAMES.sub(" ", expression)
    return {name for name in _NAME.findall(bare) if name not in _WORDS and not re.search(rf"\b{name}\s*\(", bare)}


def labels_of(expression: str) -> set[str]:
    """Return the names of the labels that an expression selects or groups by."""
    grouped = re.findall(r"\bby\s*\(([^)]*)\)", expression)
    selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    return {label.strip() for group in grouped for label in group.split(",")} | set(selected)
