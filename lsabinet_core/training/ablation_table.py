"""An ablation's rows as a table: cells for people, Markdown, CSV and JSON."""

from collections.abc import Sequence
from pathlib import Path

from .ablation import MODULES, Row
from .table_files import markdown_table, write_table_files


def columns(rows: Sequence[Row]) -> list[str]:
    """Headers; those of the modules and of the paper's figures only where the modules are what is varied."""
    of_modules = rows[0].variant.modules is not None
    return [
        *([name.upper() for name in MODULES] if of_modules else ["variant"]),
        "val mIoU %",
        "spread",
        "difference",
        "mIoU %, paper's rule",
        "runs",
        "parameters",
        *(["paper, M"] if of_modules else []),
        "GMACs",
        *(["paper, G"] if of_modules else []),
        "latency ms",
    ]


def cells(row: Row, base: Row) -> list[str]:
    """One row in the order of ``columns``; ``-`` where there is no figure."""
    variant, cost = row.variant, row.cost
    finished = sum(run.state == "finished" for run in row.runs.values())
    failed = f", {len(row.errors)} failed" if row.errors else ""
    of_modules = variant.modules is not None
    if of_modules:
        head = ["x" if name in variant.modules else "" for name in MODULES]
    else:
        head = [" ".join(variant.changes) or "recipe as it is"]
    paper = variant.paper
    return [
        *head,
        _percent(row.mean),
        _percent(row.spread),
        "-" if row is base else _percent(row.difference(base), signed=True),
        _percent(row.mean_paper_rule),
        f"{finished}/{len(row.runs)}{failed}",
        f"{cost.parameters:,}",
        *(([paper[0]] if paper else ["not printed"]) if of_modules else []),
        f"{cost.gmacs:.3f}",
        *(([paper[1]] if paper else ["not printed"]) if of_modules else []),
        f"{cost.latency_ms:.1f}",
    ]


def notes(rows: Sequence[Row], facts: dict) -> list[str]:
    """What to know beside the figures; ``facts`` as ``write_tables`` takes them."""
    measured = facts["latency"]
    height, width = measured["size"]
    lines = [
        f"Recipe {facts['recipe']}, {facts['dataset']} {facts['split']} -> {facts['val_split']}, "
        f"seeds {', '.join(map(str, facts['seeds']))}. mIoU: mean over the finished runs, at their end; spread: sample "
        "standard deviation over seeds; difference: points to the first row, over the seeds that both have. "
        "The paper's rule leaves out classes that were never hit.",
        f"GMACs of convolutions at {height}x{width}. Latency: median of the eager fp32 forward pass of one such image, "
        f"all networks measured in turns ({measured['device']}, {measured['threads']} threads).",
    ]
    if rows[0].variant.modules is not None:
        lines.append(
            "The paper (Table 4, 11 classes at 360x480) prints six of the eight combinations; its operations also "
            "count normalisation and activation, and those of its baseline, 20.9, are counted otherwise."
        )
    return lines


def markdown(rows: Sequence[Row], facts: dict) -> str:
    words = {"variant", *(name.upper() for name in MODULES)}
    table = markdown_table(columns(rows), [cells(row, rows[0]) for row in rows], words)
    return "\n".join([table, "", *(f"{note}\n" for note in notes(rows, facts))])


def document(rows: Sequence[Row], facts: dict) -> dict:
    """Everything as JSON values: fractions in 0..1, None where there is no figure."""
    base = rows[0]
    return {
        **facts,
        "rows": [
            {
                "variant": row.variant.name,
                "changes": list(row.variant.changes),
                "miou": row.mean,
                "miou_spread": row.spread,
                "miou_difference": row.difference(base),
                "miou_paper_rule": row.mean_paper_rule,
                "failed": len(row.errors),
                "errors": {str(seed): error for seed, error in row.errors.items()},
                "runs": {str(seed): vars(run) for seed, run in row.runs.items()},
                "parameters": row.cost.parameters,
                "gmacs": round(row.cost.gmacs, 6),
                "latency_ms": round(row.cost.latency_ms, 3),
                "paper_parameters_m": float(row.variant.paper[0]) if row.variant.paper else None,
                "paper_gflops": float(row.variant.paper[1]) if row.variant.paper else None,
            }
            for row in rows
        ],
    }


def write_tables(folder: Path, rows: Sequence[Row], facts: dict) -> None:
    """Write table.md, table.csv and table.json anew, each atomically.

    Args:
        folder: of the ablation.
        rows: the first is what the others are compared with.
        facts: ``recipe``, ``dataset``, ``split``, ``val_split``, ``seeds``, and ``latency`` with ``size``, ``device``
            and ``threads``; written with the figures.
    """
    write_table_files(folder, document(rows, facts), markdown(rows, facts))


def _percent(fraction: float | None, *, signed: bool = False) -> str:
    if fraction is None:
        return "-"
    return f"{100 * fraction:+.2f}" if signed else f"{100 * fraction:.2f}"
