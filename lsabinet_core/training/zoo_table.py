"""A zoo's rows as a table: cells for people, Markdown, CSV and JSON."""

from collections.abc import Sequence
from pathlib import Path

from .table_files import markdown_table, write_table_files
from .zoo import ZooRow

WORDS = ("network", "state")
"""Columns that hold no figures."""

COLUMNS = (
    *("network", "seed", "val mIoU %", "mIoU %, paper's rule", "parameters", "GMACs", "iterations", "seconds"),
    "state",
)


def cells(row: ZooRow) -> list[str]:
    """One row in the order of ``COLUMNS``; ``-`` where there is no figure."""
    record, recipe = row.record, row.planned.recipe
    return [
        recipe.model,
        str(recipe.seed),
        _percent(row.val_miou),
        _percent(row.val_miou_paper_rule),
        f"{row.cost.parameters:,}",
        f"{row.cost.gmacs:.3f}",
        str(record.iterations) if record.iterations else "-",
        "-" if record.seconds is None else f"{record.seconds:.0f}",
        row.state,
    ]


def notes(facts: dict) -> list[str]:
    """What to know beside the figures; ``facts`` as ``write_zoo_tables`` takes them."""
    height, width = facts["input_size"]
    crop_height, crop_width = facts["crop_size"]
    changed = f" with {', '.join(facts['overrides'])}" if facts["overrides"] else ""
    return [
        f"Recipe {facts['recipe']}{changed}, the same for every network: {facts['iterations']:,} iterations, "
        f"{facts['images']:,} augmented crops of {crop_height}x{crop_width}, {facts['epochs']} epochs of "
        f"{facts['dataset']} {facts['split']}, from random weights.",
        f"mIoU: {facts['dataset']} {facts['val_split']}, whole images at {height}x{width}, one scale, the weights at "
        "the end of the run. The paper's rule leaves out classes that were never hit.",
        f"Parameters and GMACs of convolutions and matrix products: {facts['classes']} classes, {height}x{width}. "
        f"Seconds: of the training, on {facts['device']}, CPU threads: {facts['threads']}.",
    ]


def markdown(rows: Sequence[ZooRow], facts: dict) -> str:
    return "\n".join([markdown_table(COLUMNS, list(map(cells, rows)), WORDS), "", *(f"{n}\n" for n in notes(facts))])


def document(rows: Sequence[ZooRow], facts: dict) -> dict:
    """Everything as JSON values: ``facts``, and ``rows`` with

    - ``model`` and ``seed``; ``run``, the run's folder beside the table;
    - ``state``: waiting, unfinished, failed (``error`` says why) or finished;
    - ``val_miou`` and ``val_miou_paper_rule`` in 0..1 and ``weights``, the file in the run's folder that they are of:
      None unless the run is finished, for a figure of part of the budget is not one of the whole;
    - ``parameters`` and ``gmacs`` of the network, ``iterations`` and ``seconds`` so far.
    """
    return {
        **facts,
        "rows": [
            {
                "model": row.planned.recipe.model,
                "seed": row.planned.recipe.seed,
                "run": row.planned.name,
                "state": row.state,
                "val_miou": row.val_miou,
                "val_miou_paper_rule": row.val_miou_paper_rule,
                "parameters": row.cost.parameters,
                "gmacs": round(row.cost.gmacs, 6),
                "iterations": row.record.iterations,
                "seconds": row.record.seconds,
                "weights": row.record.weights,
                "error": row.error,
            }
            for row in rows
        ],
    }


def write_zoo_tables(folder: Path, rows: Sequence[ZooRow], facts: dict) -> None:
    """Write table.md, table.csv and table.json anew, each atomically.

    Args:
        folder: of the zoo.
        rows: of every network.
        facts: ``Zoo.facts``, with ``device`` (its name) and ``threads``; written with the figures.
    """
    write_table_files(folder, document(rows, facts), markdown(rows, facts))


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2f}"
