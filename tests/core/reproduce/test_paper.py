"""The paper's values: transcription, comparison with real counts, and a note for every inconsistency."""

import re

import pytest
from zoo_cases import HALF, ZOO

from lsabinet_core.models import list_models
from lsabinet_core.reproduce.paper import NOT_IN_PAPER, NOTES, TABLES, TITLES, Figure

# An independent second transcription of the paper's tables: millions of parameters and "FLOPs" in G.
COSTS = """
lsabinet 1.84 8.81     segnet 29.5 652.5   enet 0.36 8.7       sqnet 16.3 288.2   espnet 0.36 6.9   espnetv2 1.3 7.4
cgnet 0.49 14.0        icnet 7.8 14.2      edanet 0.68 17.9    lednet 0.95 23.0   dabnet 0.76 20.9  esnet 1.66 48.7
lcnet 0.51 15.9        swiftnet 11.8 52.0
"""
CASES = {case.name: case for case in ZOO}


def figures(row) -> list[Figure]:
    return [row.parameters_m, row.flops_g, row.miou, row.fps]


@pytest.mark.parametrize("number", [1, 3])
def test_costs_as_printed(number):
    words = COSTS.split()
    expected = {name: (parameters, flops) for name, parameters, flops in zip(words[::3], words[1::3], words[2::3])}
    rows = TABLES[number].rows
    assert {
        name: (row.parameters_m.text, row.flops_g.text) for name, row in rows.items() if name != "erfnet"
    } == expected
    assert rows["erfnet"].note == "table 2"
    assert not any(figure.text for figure in figures(rows["erfnet"]))


def test_headline_figures():
    ours = {number: TABLES[number].rows["lsabinet"] for number in (1, 2, 3)}
    printed = {number: (row.miou.text, row.fps.text) for number, row in ours.items()}
    assert printed == {1: ("72.74", "51.08"), 2: ("72.74", None), 3: ("68.53", "79.62")}
    sizes = {number: (table.dataset, table.size) for number, table in TABLES.items()}
    assert sizes[1] == sizes[2] == ("cityscapes", (512, 1024))
    assert sizes[3] == sizes[4] == ("camvid", (360, 480))


def test_unavailable_figures_are_missing():
    """mIoU and speed of the other networks are not available."""
    for number in (1, 2, 3):
        for name, row in TABLES[number].rows.items():
            if name != "lsabinet":
                assert row.miou.text is None
                assert row.fps.text is None
    assert all(row.miou.text is None and row.fps.text is None for row in TABLES[4].rows.values())


def test_reported_parameters_match_the_networks_or_have_a_note():
    for name, row in TABLES[1].rows.items():
        if row.parameters_m.text is None:
            continue
        exact, printed = CASES[name].params_19 / 1e6, row.parameters_m.text
        # The paper's figures are rounded or truncated.
        last_digit = 10 ** -len(printed.partition(".")[2])
        right = abs(exact - float(printed)) < last_digit
        assert right == (row.parameters_m.note is None), (name, exact, printed)


def test_reported_flops_are_about_twice_the_macs_or_have_a_note():
    for name, row in TABLES[1].rows.items():
        if row.flops_g.text is None:
            continue
        gmacs = CASES[name].gmacs
        near = float(row.flops_g.text) == pytest.approx(2 * gmacs.get(HALF, gmacs.get((513, 1025))), rel=0.08)
        assert near == (row.flops_g.note is None), name


def test_modules_as_printed():
    printed = {name: (row.parameters_m.text, row.flops_g.text) for name, row in TABLES[4].rows.items()}
    assert printed == {
        "baseline": ("0.75", "20.9"),
        "lrfa": ("0.80", "3.50"),
        "svfm": ("1.44", "5.14"),
        "rcad": ("1.12", "7.15"),
        "lrfa+svfm": ("1.48", "5.15"),
        "lrfa+svfm+rcad": ("1.84", "8.81"),
    }


def test_every_network_has_a_row_and_a_title():
    assert set(TITLES) == set(list_models()) == set(TABLES[1].rows) | set(NOT_IN_PAPER)
    for name, title in TITLES.items():
        assert re.sub(r"\W", "", title).lower() == name.replace("_", "")


def test_all_notes_exist_and_are_used():
    used = {"not in the paper", "not printed"}
    for table in TABLES.values():
        for row in table.rows.values():
            used |= {row.note, *(figure.note for figure in figures(row))} - {None}
    assert used == set(NOTES)
