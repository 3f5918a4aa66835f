"""Tables as text, Markdown, CSV and JSON."""

import csv
import json
import math

from lsabinet_core.text_table import Marks, Table, csv_text, format_table, mean, number, percent, wrap

TABLE = Table(
    rows=[{"name": "enet", "miou": 0.5, "runs": [1]}, {"name": "a, b", "miou": None, "runs": []}],
    columns={"network": lambda row: row["name"], "mIoU %": lambda row: percent(row["miou"])},
    words=("network",),
    notes=["a note", "another"],
    facts={"seed": 3},
)


def test_text_is_aligned():
    lines = TABLE.text().split("\n")
    assert lines == ["network  mIoU %", "enet      50.00", "a, b          -", "", "a note", "", "another"]
    assert format_table(["a", "b"], [["long", "x"]], ["a", "b"]).splitlines() == ["a     b", "long  x"]


def test_written_files(tmp_path):
    TABLE.write(tmp_path)
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines == ["| network | mIoU % |", "| --- | ---: |", *lines[2:]]
    assert lines[2:] == ["| enet | 50.00 |", "| a, b | - |", "", "a note", "", "another"]
    with (tmp_path / "table.csv").open(newline="") as stream:
        # Nested values are omitted, and undefined values are empty.
        assert list(csv.DictReader(stream)) == [{"name": "enet", "miou": "0.5"}, {"name": "a, b", "miou": ""}]
    assert json.loads((tmp_path / "table.json").read_text()) == {"seed": 3, "rows": list(TABLE.rows)}


def test_csv_rows_with_different_keys():
    assert csv_text([{"a": 1}, {"b": 2}]).splitlines() == ["a,b", "1,", ",2"]


def test_number_formats():
    assert (percent(0.12345), percent(0.05, signed=True), percent(-0.05, signed=True)) == ("12.35", "+5.00", "-5.00")
    assert percent(None) == percent(math.nan) == percent(None, signed=True) == "-"
    assert (number(1.25, 1), number(None, 1)) == ("1.2", "-")
    assert mean([1.0, None, 3.0]) == 2.0
    assert mean([None]) is None


def test_marks_of_notes_continue_after_z():
    marks = Marks()
    found = [marks("x", f"note {index}") for index in range(28)]
    assert (found[0], found[25], found[26], found[27]) == ("x [a]", "x [z]", "x [aa]", "x [ab]")
    assert marks("y", "note 3") == "y [d]"
    assert marks("y", None) == "y"
    assert marks.lines()[3] == "[d] note 3."


def test_lines_are_not_broken_within_words(monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    assert wrap("one two-three /a/very/long/path").splitlines() == ["one", "two-three", "/a/very/long/path"]
