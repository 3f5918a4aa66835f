"""A measured table next to the paper's figures, as a ``Table``."""

from collections.abc import Callable

from lsabinet_core.benchmark.candidates import EAGER
from lsabinet_core.benchmark.hardware import counted, show_device
from lsabinet_core.text_table import UNDEFINED, Marks, Table, number, percent

from .measured import MeasuredTable, TableRow, place_of_ours
from .paper import NOTES, Figure

NOT_TRAINED = "not trained here"
PAPER = "paper: "
TIMED = ("precision", "median_ms", "p95_ms", "p99_ms", "fps")


def heading(table: MeasuredTable) -> str:
    height, width = table.size
    return f"Table {table.paper.number} of the paper, {table.paper.title}, measured here at {height}x{width}"


def report(table: MeasuredTable) -> Table:
    """One row per network, with footnotes; columns of the paper that are empty in all rows are omitted."""
    marks = Marks()
    shown = {row.name: _cells(table, row, marks) for row in table.rows}
    headers = [
        header
        for header in next(iter(shown.values()))
        if not header.startswith(PAPER) or any(cells[header] != UNDEFINED for cells in shown.values())
    ]
    notes = [*marks.lines(), *_notes(table)]
    return Table(
        rows=[_document(table, row) for row in table.rows],
        columns={header: lambda row, header=header: shown[row["network"]][header] for header in headers},
        words=("network", "modules", "trained"),
        notes=notes,
        facts={
            "table": table.paper.number,
            "title": table.paper.title,
            "dataset": table.paper.dataset,
            "classes": table.classes,
            "size": list(table.size),
            "backends": table.backends,
            "rounds": table.rounds,
            "machine": table.machine,
            "notes": notes,
        },
    )


def class_report(table: MeasuredTable) -> Table | None:
    """IoU of each class in percent, for Table 2; None for the other tables and if no network is trained."""
    trained = {row.title: row.accuracy.per_class for row in table.rows if row.accuracy and row.accuracy.per_class}
    if table.paper.number != 2 or not trained:
        return None
    columns: dict[str, Callable[[dict], str]] = {"class": lambda row: row["class"]}
    columns |= {title: lambda iou, title=title: percent(iou[title]) for title in trained}
    rows = [
        {"class": name, **{title: per_class.get(name) for title, per_class in trained.items()}}
        for name in next(iter(trained.values()))
    ]
    return Table(rows, columns, words=("class",))


def _cells(table: MeasuredTable, row: TableRow, marks: Marks) -> dict[str, str]:
    modules = table.paper.number == 4
    cost, printed, accuracy = row.cost, row.printed, row.accuracy
    cells = {"modules" if modules else "network": marks(row.title, printed.note and NOTES[printed.note])}
    if not modules:
        cells["year"] = str(row.year)
    spare = cost.spare_parameters if cost else 0
    cells["parameters"] = marks(
        f"{cost.parameters:,}" if cost else UNDEFINED,
        f"{spare:,} of these parameters are in the published count, but no output depends on them" if spare else None,
    )
    cells["GMACs"] = marks(number(cost and cost.gmacs, 3), row.failures.get("network"))
    for backend in table.backends:
        prefix = f"{backend} " if len(table.backends) > 1 else ""
        measured = row.latency.get(backend, {})
        cells[f"{prefix}latency ms"] = marks(number(measured.get("median_ms"), 1), row.failures.get(backend))
        cells[f"{prefix}fps"] = number(measured.get("fps"), 1)
    cells["val mIoU %"] = marks(percent(row.miou), accuracy and accuracy.miou_of)
    cells["trained"] = marks(accuracy.origin, accuracy.remark) if accuracy else NOT_TRAINED
    for header, figure in _printed(row).items():
        cells[PAPER + header] = marks(figure.text or UNDEFINED, figure.note and NOTES[figure.note])
    return cells


def _printed(row: TableRow) -> dict[str, Figure]:
    printed = row.printed
    figures = (printed.parameters_m, printed.flops_g, printed.miou, printed.fps)
    return dict(zip(("M params", "G FLOPs", "mIoU %", "fps"), figures, strict=True))


def _document(table: MeasuredTable, row: TableRow) -> dict:
    """The row as JSON values: fractions in 0..1, None for missing figures; nested values are not in the CSV."""
    cost, accuracy, printed = row.cost, row.accuracy, row.printed
    notes = {header: NOTES[figure.note] for header, figure in _printed(row).items() if figure.note}
    if printed.note:
        notes["row"] = NOTES[printed.note]
    return {
        "network": row.name,
        "title": row.title,
        "options": row.options,
        "year": row.year,
        "dataset": table.paper.dataset,
        "classes": table.classes,
        "size": "x".join(map(str, table.size)),
        "device": show_device(table.machine),
        "parameters": cost and cost.parameters,
        "spare_parameters": cost and cost.spare_parameters,
        "gmacs": cost and round(cost.gmacs, 6),
        **{f"{backend}_{key}": row.latency.get(backend, {}).get(key) for backend in table.backends for key in TIMED},
        "miou": row.miou,
        "miou_of": accuracy and accuracy.miou_of,
        "per_class_iou": accuracy.per_class if accuracy else {},
        "iterations": accuracy and accuracy.iterations,
        "trained": accuracy.remark if accuracy else NOT_TRAINED,
        "paper_parameters_m": printed.parameters_m.text and float(printed.parameters_m.text),
        "paper_flops_g": printed.flops_g.text and float(printed.flops_g.text),
        "paper_miou_percent": printed.miou.text and float(printed.miou.text),
        "paper_fps": printed.fps.text and float(printed.fps.text),
        "paper_notes": "; ".join(f"{key}: {note}" for key, note in notes.items()),
        "failures": "; ".join(f"{key}: {reason}" for key, reason in row.failures.items()),
    }


def _notes(table: MeasuredTable) -> list[str]:
    height, width = table.size
    machine, ours = table.machine, place_of_ours(table)
    precisions = sorted({latency["precision"] for row in table.rows for latency in row.latency.values()})
    iterations = {
        row.accuracy.iterations
        for row in table.rows
        if row.miou is not None and row.accuracy is not None and row.accuracy.iterations is not None
    }
    unequal = (
        f"The networks were trained for different numbers of iterations, from {min(iterations):,} to "
        f"{max(iterations):,}: their mIoU shows the progress of each training, not which network is better."
        if len(iterations) > 1
        else None
    )
    eager = f"; {EAGER} takes a normalised image and returns logits of its size" if EAGER in table.backends else ""
    notes = [
        ours,
        f"Measured here with {table.classes} classes at {height}x{width}. GMACs: multiply-accumulates of convolutions, "
        "transposed convolutions and linear layers; FLOPs are twice as many. Latency: median of "
        f"{counted(table.rounds, 'round')} in which all networks are interleaved, one image, "
        f"{' and '.join(precisions) or 'no engine'}, {show_device(machine)}, {counted(machine['threads'], 'thread')}, "
        f"PyTorch {machine['versions']['torch']}; fps: 1000 / latency. Ratios within the table are meaningful; the "
        "times depend on this machine and its load.",
        f"Engines take pixels and return logits before the last upsampling{eager}.",
        "val mIoU: mean over all classes, on the split named in the footnote. The paper's mIoU leaves out classes "
        "that were never predicted correctly, which makes it higher.",
        unequal,
        *table.paper.notes,
        f"{UNDEFINED}: not available or not measured.",
    ]
    return [note for note in notes if note]
