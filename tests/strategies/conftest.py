"""A certificate for all tests of a run."""

from __future__ import annotations

import pytest

from tests.strategies import certificates


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificate:
    return certificates.make(tmp_path_factory.mktemp("certificate"))
