"""Plain-text tables on standard output, as wide as their contents, and paragraphs as wide as the terminal."""

import shutil
import textwrap
from collections.abc import Sequence


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Columns two spaces apart; those of ``right``, named by their header, are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    lines = []
    for row in [header, *rows]:
        cells = (
            cell.rjust(width) if name in right else cell.ljust(width) for cell, width, name in zip(row, widths, header)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def wrap(paragraph: str) -> str:
    """Its lines no longer than the terminal is wide, 80 characters where there is none, but for longer words."""
    width = shutil.get_terminal_size((80, 24)).columns
    return textwrap.fill(paragraph, width, break_long_words=False, break_on_hyphens=False)
