"""A measured table as text: cells for people, Markdown, CSV and JSON."""

import csv
import io
import json

from lsabinet_core.models.paper import NOTES, Figure
from lsabinet_core.training.table_files import markdown_table

from .candidates import EAGER
from .hardware import counted, show_device
from .tables import MeasuredTable, TableRow, place_of_ours

NONE = "-"
NOT_TRAINED = "not trained here"
PAPER = "paper: "
TEXT_COLUMNS = ("network", "modules", "trained", "class")
"""Headers of columns that hold words, not numbers."""


class Marks:
    """The letters that lead from a cell to its note, in the order in which the cells are written."""

    def __init__(self):
        self.notes: dict[str, str] = {}

    def __call__(self, text: str, note: str | None) -> str:
        """``text`` with the mark of ``note``, a whole sentence or a key of ``NOTES``; as it is without one."""
        if note is None:
            return text
        return f"{text} [{self.notes.setdefault(NOTES.get(note, note), _letters(len(self.notes)))}]"

    def figure(self, figure: Figure) -> str:
        return self(figure.text or NONE, figure.note)

    def lines(self) -> list[str]:
        return [f"[{mark}] {note}." for note, mark in self.notes.items()]


def figures(table: MeasuredTable) -> tuple[list[str], list[list[str]], Marks]:
    """Headers, rows and notes, without those columns of the paper in which it prints nothing."""
    header, (rows, marks) = columns(table), cells(table)
    kept = [
        place
        for place, name in enumerate(header)
        if not name.startswith(PAPER) or any(row[place] != NONE for row in rows)
    ]
    return [header[place] for place in kept], [[row[place] for place in kept] for row in rows], marks


def columns(table: MeasuredTable) -> list[str]:
    """Headers, in the order of ``cells``."""
    several = len(table.backends) > 1
    timed = [
        f"{backend} {what}" if several else what for backend in table.backends for what in ("latency ms", "fps")
    ]  # fmt: skip
    head = ["modules"] if table.paper.number == 4 else ["network", "year"]
    paper = [f"{PAPER}{what}" for what in ("M params", "G FLOPs", "mIoU %", "fps")]
    return [*head, "parameters", "GMACs", *timed, "val mIoU %", "trained", *paper]


def cells(table: MeasuredTable) -> tuple[list[list[str]], Marks]:
    """The rows in the order of ``columns``, and the notes that they lead to."""
    marks = Marks()
    return [_row_cells(table, row, marks) for row in table.rows], marks


def _row_cells(table: MeasuredTable, row: TableRow, marks: Marks) -> list[str]:
    head = [marks(row.title, row.printed.note)]
    if table.paper.number != 4:
        head.append(str(row.year))
    cost = [
        NONE if row.parameters is None else marks(f"{row.parameters:,}", _spare_note(row)),
        marks(NONE, row.failures.get("network")) if row.gmacs is None else f"{row.gmacs:.3f}",
    ]
    timed = []
    for backend in table.backends:
        if backend in row.latency:
            timed += [f"{row.latency[backend]['median_ms']:.1f}", f"{row.latency[backend]['fps']:.1f}"]
        else:
            timed += [marks(NONE, row.failures.get(backend)), NONE]
    accuracy = row.accuracy
    trained = [NONE, NOT_TRAINED]
    if accuracy is not None:
        trained = [marks(_percent(accuracy.miou), accuracy.miou_of), marks(accuracy.origin, accuracy.remark)]
    printed = row.printed
    paper = map(marks.figure, (printed.parameters_m, printed.flops_g, printed.miou, printed.fps))
    return [*head, *cost, *timed, *trained, *paper]


def class_columns(table: MeasuredTable) -> tuple[list[str], list[list[str]]]:
    """Header and rows of Table 2's own matter: a class in a row, a trained network in a column; no rows without any."""
    trained = [row for row in table.rows if row.accuracy and row.accuracy.per_class]
    if table.paper.number != 2 or not trained:
        return [], []
    names = list(trained[0].accuracy.per_class)
    rows = [[name, *(_percent(row.accuracy.per_class.get(name)) for row in trained)] for name in names]
    return ["class", *(row.title for row in trained)], rows


def notes(table: MeasuredTable) -> list[str]:
    """What to know beside the figures, besides what the marks lead to."""
    height, width = table.size
    machine = table.machine
    ours = place_of_ours(table)
    precisions = sorted({latency["precision"] for row in table.rows for latency in row.latency.values()})
    threads = counted(machine["threads"], "thread")
    return [
        *([ours] if ours else []),
        f"Measured here, {table.classes} classes at {height}x{width}: parameters, exactly; GMACs, the "
        "multiply-accumulates of convolutions, transposed convolutions and linear layers, of which FLOPs are twice as "
        f"many; latency, the median of {counted(table.rounds, 'round')} in which all networks take turns, one image, "
        f"{' and '.join(precisions) or 'no engine'}, {show_device(machine)}, {threads}, PyTorch "
        f"{machine['versions']['torch']}; fps, 1000 over that. Ratios within the table hold; the times are this "
        "machine's and those of what else ran on it.",
        "Engines take pixels and give logits before the last upsampling"
        + (f"; {EAGER} takes a normalised image and gives logits of its size." if EAGER in table.backends else "."),
        "val mIoU: the mean over all classes, on the split that its note names. The paper's leaves out classes that "
        "were never hit, which flatters.",
        *_budgets(table),
        *table.paper.notes,
        f"{NONE}: not at hand, or not measured.",
    ]


def _spare_note(row: TableRow) -> str | None:
    if not row.spare:
        return None
    return f"{row.spare:,} of these parameters are in the published count, but no output depends on them"


def _budgets(table: MeasuredTable) -> list[str]:
    """A sentence where the trainings of the rows differ in length."""
    iterations = {row.accuracy.iterations for row in table.rows if row.accuracy and row.miou is not None} - {None}
    if len(iterations) < 2:
        return []
    return [
        f"The rows' trainings differ, from {min(iterations):,} to {max(iterations):,} iterations: their mIoU says how "
        "far each has come, not which network is the better one."
    ]


def document(table: MeasuredTable) -> dict:
    """Everything as JSON values: fractions in 0..1, None where there is no figure."""
    return {
        "table": table.paper.number,
        "title": table.paper.title,
        "dataset": table.paper.dataset,
        "classes": table.classes,
        "size": list(table.size),
        "backends": table.backends,
        "rounds": table.rounds,
        "machine": table.machine,
        "rows": [_row_document(row) for row in table.rows],
        "notes": notes(table),
    }


def _row_document(row: TableRow) -> dict:
    accuracy, printed = row.accuracy, row.printed
    timed = ("precision", "median_ms", "p95_ms", "p99_ms", "fps")
    figures = {"parameters_m": printed.parameters_m, "flops_g": printed.flops_g, "miou": printed.miou}
    figures["fps"] = printed.fps
    remarks = {key: NOTES[figure.note] for key, figure in figures.items() if figure.note}
    if printed.note:
        remarks["row"] = NOTES[printed.note]
    return {
        "network": row.name,
        "title": row.title,
        "model": row.model,
        "options": row.options,
        "year": row.year,
        "parameters": row.parameters,
        "spare_parameters": row.spare,
        "gmacs": None if row.gmacs is None else round(row.gmacs, 6),
        "latency": {backend: {key: row.latency[backend][key] for key in timed} for backend in row.latency},
        "failures": row.failures,
        "miou": row.miou,
        "per_class_iou": accuracy.per_class if accuracy else {},
        "miou_of": accuracy.miou_of if accuracy else None,
        "iterations": accuracy.iterations if accuracy else None,
        "trained": accuracy.remark if accuracy else None,
        "paper": {key: figure.text and float(figure.text) for key, figure in figures.items()},
        "paper_notes": remarks,
    }


def as_json(table: MeasuredTable) -> str:
    return json.dumps(document(table), indent=1, allow_nan=False)


def comma_separated(table: MeasuredTable) -> str:
    """CSV, a network in a row: figures with all digits, nothing where there is none; the paper's as it prints them."""
    height, width = table.size
    measured = {
        "table": table.paper.number,
        "dataset": table.paper.dataset,
        "classes": table.classes,
        "size": f"{height}x{width}",
        "device": show_device(table.machine),
    }
    rows = []
    for row, values in zip(table.rows, document(table)["rows"], strict=True):
        latency = {
            f"{backend}_{key}": values["latency"].get(backend, {}).get(key)
            for backend in table.backends
            for key in ("precision", "median_ms", "p95_ms", "p99_ms", "fps")
        }
        rows.append(
            {
                **measured,
                **{key: values[key] for key in ("network", "year", "parameters", "spare_parameters", "gmacs")},
                **latency,
                **{key: values[key] for key in ("miou", "miou_of", "iterations")},
                "trained": values["trained"] or NOT_TRAINED,
                "paper_parameters_m": row.printed.parameters_m.text,
                "paper_flops_g": row.printed.flops_g.text,
                "paper_miou_percent": row.printed.miou.text,
                "paper_fps": row.printed.fps.text,
                "paper_notes": "; ".join(f"{key}: {note}" for key, note in values["paper_notes"].items()),
                "failures": "; ".join(f"{key}: {reason}" for key, reason in row.failures.items()),
            }
        )
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def markdown(table: MeasuredTable) -> str:
    names, body, marks = figures(table)
    parts = [f"**{heading(table)}**", markdown_table(names, body, TEXT_COLUMNS)]
    header, rows = class_columns(table)
    if rows:
        parts += ["IoU of each class, %:", markdown_table(header, rows, TEXT_COLUMNS)]
    return "\n\n".join([*parts, *marks.lines(), *notes(table)])


def heading(table: MeasuredTable) -> str:
    height, width = table.size
    return f"Table {table.paper.number} of the paper, {table.paper.title}, measured anew at {height}x{width}"


def _percent(fraction: float | None) -> str:
    return NONE if fraction is None else f"{100 * fraction:.2f}"


def _letters(index: int) -> str:
    """0 to a, 25 to z, 26 to aa."""
    return ("" if index < 26 else _letters(index // 26 - 1)) + chr(ord("a") + index % 26)
