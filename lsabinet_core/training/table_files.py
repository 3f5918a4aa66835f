"""A table in the folder of the runs that it is of: table.json, table.csv and table.md."""

import csv
import io
import json
from collections.abc import Collection, Sequence
from pathlib import Path

from lsabinet_core.files import write_text


def write_table_files(folder: Path, document: dict, markdown: str) -> None:
    """Write the three files anew, each atomically.

    Args:
        folder: where to write.
        document: JSON values; ``rows``, dicts with the same keys, are the lines of the CSV, without what is nested.
        markdown: the table for people.
    """
    write_text(folder / "table.json", json.dumps(document, indent=1) + "\n")
    flat = [
        {key: value for key, value in row.items() if not isinstance(value, (list, dict))} for row in document["rows"]
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    write_text(folder / "table.csv", text.getvalue())
    write_text(folder / "table.md", markdown)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], words: Collection[str] = ()) -> str:
    """A table in GitHub's Markdown; columns of ``words``, named by their header, are aligned left, figures right."""
    rule = ["---" if name in words else "---:" for name in header]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))
