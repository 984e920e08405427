"""Each of the mistakes that people made is named, and what is named can be mended as advised."""

from __future__ import annotations

import pytest

from grpc_heartbeat.options import check_options
from tests.options.misconfigurations import MISTAKES, Mistake


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake.source} {mistake.kind}")
def test_the_mistake_is_named(mistake: Mistake) -> None:
    report = check_options(client=mistake.client, server=mistake.server)
    named = [finding for finding in report.findings if finding.rule == mistake.kind]
    assert named, f"only found: {report}"
    assert mistake.says in str(named[0])
    assert named[0].severity in ("error", "warning")


def test_there_are_enough_of_them() -> None:
    assert len({mistake.source for mistake in MISTAKES}) >= 20
    assert len({mistake.kind for mistake in MISTAKES}) >= 14
