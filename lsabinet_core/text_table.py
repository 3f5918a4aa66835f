"""Tables for people and programs: plain text, Markdown, CSV and JSON of the same rows."""

import csv
import io
import json
import math
import shutil
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .files import write_text

UNDEFINED = "-"
"""What a cell shows where there is no figure."""


@dataclass(frozen=True)
class Table:
    """Rows with the columns to show of them.

    Attributes:
        rows: JSON values, the same keys in each.
        columns: text of a row's cell, by the column's header.
        words: headers of the columns that hold words; all others hold figures and are aligned to the right.
        notes: paragraphs below the table.
        facts: JSON values that hold for the whole table.
    """

    rows: Sequence[dict]
    columns: Mapping[str, Callable[[dict], str]]
    words: Collection[str] = ()
    notes: Sequence[str] = ()
    facts: dict = field(default_factory=dict)

    def cells(self) -> list[list[str]]:
        return [[cell(row) for cell in self.columns.values()] for row in self.rows]

    def text(self) -> str:
        """The table and its notes for a terminal."""
        return "\n\n".join([format_table(list(self.columns), self.cells(), self.words), *map(wrap, self.notes)])

    def markdown(self) -> str:
        return "\n\n".join([markdown_table(list(self.columns), self.cells(), self.words), *self.notes]) + "\n"

    def csv(self) -> str:
        """A line per row: figures with all digits, without nested values."""
        return csv_text(
            [
                {key: value for key, value in row.items() if not isinstance(value, (list, tuple, dict))}
                for row in self.rows
            ]
        )

    def json(self) -> str:
        """``facts`` and ``rows``."""
        return json.dumps({**self.facts, "rows": list(self.rows)}, indent=1, allow_nan=False) + "\n"

    def write(self, folder: Path) -> None:
        """Write table.md, table.csv and table.json into ``folder``, each atomically."""
        write_text(folder / "table.json", self.json())
        write_text(folder / "table.csv", self.csv())
        write_text(folder / "table.md", self.markdown())


class Marks:
    """Footnotes of a table, lettered in the order in which the cells refer to them."""

    def __init__(self):
        self._letters: dict[str, str] = {}

    def __call__(self, text: str, note: str | None) -> str:
        """``text`` with the mark of ``note``; unchanged without one."""
        if note is None:
            return text
        return f"{text} [{self._letters.setdefault(note, _letters(len(self._letters)))}]"

    def lines(self) -> list[str]:
        return [f"[{mark}] {note}." for note, mark in self._letters.items()]


def percent(fraction: float | None, *, signed: bool = False) -> str:
    """A fraction in percent with two digits, such as ``71.42``; ``-`` for None and NaN."""
    if fraction is None or math.isnan(fraction):
        return UNDEFINED
    return f"{100 * fraction:+.2f}" if signed else f"{100 * fraction:.2f}"


def number(value: float | None, digits: int) -> str:
    """``value`` with this number of digits after the point; ``-`` for None."""
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not None; None without any."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], words: Collection[str]) -> str:
    """Columns two spaces apart; those named in ``words`` are aligned to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if name in words else cell.rjust(width)
            for cell, width, name in zip(row, widths, header, strict=True)
        ).rstrip()
        for row in [header, *rows]
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], words: Collection[str]) -> str:
    """A table in GitHub's Markdown, aligned as ``format_table`` does."""
    rule = ["---" if name in words else "---:" for name in header]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))


def csv_text(rows: Sequence[dict]) -> str:
    """The rows as CSV; a row without some key leaves that field empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def wrap(paragraph: str) -> str:
    """The paragraph broken at the terminal's width (80 characters outside a terminal); words are never broken."""
    width = shutil.get_terminal_size((80, 24)).columns
    return textwrap.fill(paragraph, width, break_long_words=False, break_on_hyphens=False)


def _letters(index: int) -> str:
    """0 to a, 25 to z, 26 to aa."""
    return ("" if index < 26 else _letters(index // 26 - 1)) + chr(ord("a") + index % 26)
