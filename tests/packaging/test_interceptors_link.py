"""The top-level ``interceptors`` link is for readers; as an import name it is refused."""

from __future__ import annotations

import importlib
import sys

import pytest

from tests.packaging.wheel import ROOT

LINK = ROOT / "interceptors"


@pytest.mark.skipif(not LINK.exists(), reason="a source archive has no link")
def test_the_bare_name_is_refused_with_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LINK.resolve() == ROOT / "grpc_heartbeat" / "interceptors"
    monkeypatch.syspath_prepend(ROOT)
    with pytest.raises(ImportError, match=r"import grpc_heartbeat\.interceptors"):
        importlib.import_module("interceptors")
    assert "interceptors" not in sys.modules


def test_the_full_name_is_accepted() -> None:
    module = importlib.import_module("grpc_heartbeat.interceptors")
    assert module.__name__ == "grpc_heartbeat.interceptors"
