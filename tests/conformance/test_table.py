"""The page and its tests cover each other: no claim without a test, no scenario without a claim."""

from __future__ import annotations

import itertools

import pytest

from tests.conformance import installs_aio, installs_sync, paths_aio, paths_sync, table

INSTALLATIONS = {"sync": [*installs_sync.INSTALLATIONS], "aio": [*installs_aio.INSTALLATIONS]}
PATHS = {"sync": [*paths_sync.PATHS], "aio": [*paths_aio.PATHS]}
HEADER = f"| call path | {' | '.join(table.LIMITS)} |\n|---|{'---|' * len(table.LIMITS)}\n"


@pytest.mark.parametrize("stack", table.STACKS)
def test_every_cell_has_a_scenario_and_every_scenario_a_cell(stack: str) -> None:
    claimed = [(cell.installation, cell.path, cell.limit) for cell in table.cells(stack)]
    scenarios = itertools.product(INSTALLATIONS[stack], PATHS[stack], table.LIMITS)
    assert sorted(claimed) == sorted(scenarios)


def test_every_note_is_used_and_every_used_one_is_there() -> None:
    page = table.page()
    assert page.notes == list(range(1, len(page.notes) + 1))
    assert {cell.note for cell in page.cells} - {None} == set(page.notes)


def test_no_other_stack_is_claimed() -> None:
    assert {cell.stack for cell in table.page().cells} == set(table.STACKS)


def test_a_row_is_read_cell_by_cell() -> None:
    page = table.read(f"### sync: here\n\n{HEADER}| `a` b | yes | yes (2) | — (1) | yes | yes | yes | yes |\n")
    assert [(cell.works, cell.note, cell.by_private_names) for cell in page.cells[:3]] == [
        (True, None, False),
        (True, 2, True),
        (False, 1, False),
    ]
    assert {(cell.stack, cell.installation, cell.path) for cell in page.cells} == {("sync", "here", "a b")}
    assert [cell.limit for cell in page.cells] == list(table.LIMITS)


@pytest.mark.parametrize(
    "row",
    [
        "| a | yes | yes | yes | yes | yes | yes | no |",
        "| a | yes | yes | yes | yes | yes | yes | — |",
        "| a | yes | yes | yes |",
        "| call path | connect | header |",
    ],
)
def test_a_row_that_cannot_be_understood_is_refused(row: str) -> None:
    with pytest.raises(ValueError, match=r"conformance\.md:4"):
        table.read(f"### sync: here\n{HEADER}{row}\n")
