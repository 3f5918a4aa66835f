"""``lsabinet runs``: lists training runs and compares their settings."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lsabinet_core.training.run_history import RunHistory

HELP = "list training runs with their state and figures; for runs given one by one, also the settings that differ"

LONGEST_TEXT = 40
HEADER = ("run", "model", "data", "recipe", "iterations", "state", "mIoU %", "best %", "time", "images/s", "seed")
WORDS = ("run", "model", "data", "recipe", "state")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        default=[Path("runs")],
        metavar="DIR|RUN",
        help="runs, or folders of runs (default: runs)",
    )
    parser.add_argument("--json", type=Path, metavar="F", help="also write the table to this file")


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.errors import TrainingError
    from lsabinet_core.files import write_text
    from lsabinet_core.text_table import format_table
    from lsabinet_core.training.run_history import differences, find_runs, is_run, read_history

    folders = list(dict.fromkeys(folder for path in args.paths for folder in find_runs(path)))
    histories, unreadable = [], []
    for folder in folders:
        try:
            histories.append(read_history(folder))
        except TrainingError as error:
            unreadable.append(error)
    if histories:
        rows = [describe(history) for history in histories]
        names = short_names([history.path for history in histories])
        print(format_table(HEADER, [_cells(name, row) for name, row in zip(names, rows, strict=True)], WORDS))
        named = len(args.paths) > 1 and all(map(is_run, args.paths))
        different = differences(histories) if named and len(histories) > 1 else {}
        if named and len(histories) > 1:
            print()
            print(_difference_table(names, different) if different else "all settings are equal")
        if args.json:
            write_text(args.json, json.dumps({"runs": rows, "differences": different}, indent=1) + "\n")
    if unreadable:
        if len(folders) == 1:
            raise unreadable[0]
        raise TrainingError(f"{len(unreadable)} of {len(folders)} runs cannot be read, the first: {unreadable[0]}")
    return 0


def describe(history: "RunHistory") -> dict:
    """A run as JSON values: fractions in 0..1, seconds; None where something is not known (yet).

    ``val_seen``: whether the validation split has images that the run is trained on.
    """
    from lsabinet_core.evaluation.origin import has_learned_from

    recipe, facts = history.recipe, history.facts
    val_split = str(facts.get("val_split"))
    return {
        "run": str(history.path),
        "model": recipe.get("model"),
        "model_options": recipe.get("model_options") or {},
        "dataset": facts.get("dataset"),
        "split": facts.get("split"),
        "val_split": facts.get("val_split"),
        "recipe": facts.get("recipe"),
        "description": recipe.get("description") or "",
        "iterations": history.iteration,
        "total_iterations": history.total_iterations,
        "finished": history.finished,
        "val_seen": has_learned_from(
            f"{facts.get('dataset')} {facts.get('split')}", facts.get("dataset", ""), val_split
        ),
        "val_miou": history.last_miou,
        "best_val_miou": history.best_miou,
        "seconds": history.seconds,
        "images_per_s": history.images_per_s,
        "seed": recipe.get("seed"),
        "started": facts.get("started"),
    }


def short_names(paths: list[Path]) -> list[str]:
    """The paths without the folders that they share, with replacement characters for bytes that are not UTF-8."""
    absolute = [path.resolve() for path in paths]
    shared = os.path.commonpath(absolute) if len(absolute) > 1 else str(absolute[0])
    # A run that holds the others is the shared folder itself.
    names = [path.name if str(path) == shared else str(path.relative_to(shared)) for path in absolute]
    return [os.fsencode(name).decode("utf-8", "replace") for name in names]


def _cells(name: str, row: dict) -> list[str]:
    from lsabinet_core.text_table import number, percent

    options = [key if on else f"no {key}" for key, on in row["model_options"].items()]
    # Validated on images that it was trained on.
    seen = " seen" if row["val_seen"] and row["val_miou"] is not None else ""
    total = "?" if row["total_iterations"] is None else str(row["total_iterations"])
    return [
        name,
        f"{row['model']} ({', '.join(options)})" if options else str(row["model"]),
        f"{row['dataset']} {row['split']} -> {row['val_split']}",
        _shorten(row["description"] or str(row["recipe"])),
        f"{row['iterations']}/{total}",
        "finished" if row["finished"] else "unfinished",
        percent(row["val_miou"]) + seen,
        percent(row["best_val_miou"]) + seen,
        _duration(row["seconds"]),
        number(row["images_per_s"], 1),
        str(row["seed"]),
    ]


def _difference_table(names: list[str], different: dict[str, list]) -> str:
    from lsabinet_core.text_table import format_table

    rows = [
        [key, *("-" if value is None else _shorten(str(value)) for value in values)]
        for key, values in different.items()
    ]
    return format_table(["setting", *names], rows, ["setting", *names])


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 3]}..."
