"""Plain-text tables on standard output, as wide as their contents."""

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
