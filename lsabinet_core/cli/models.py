"""lsabinet models"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from lsabinet_core.cli.segmenter_options import parse_size, positive

HELP = "list the networks with their parameters, operations and papers, and the weights that ship"
CODE = "own, Apache-2.0"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--classes", type=positive, nargs="+", default=[11, 19], metavar="C", help="classes to count for (11 19)"
    )
    parser.add_argument(
        "--size", type=parse_size, default=(360, 480), metavar="HxW", help="size to count for (360x480)"
    )
    parser.add_argument("--json", type=Path, metavar="F", help="also write the list to this file")


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.benchmark.table_formats import Marks
    from lsabinet_core.cli.table import format_table, wrap
    from lsabinet_core.files import write_text
    from lsabinet_core.models import list_models

    weights = _weights()
    rows = [_network(name, args.classes, args.size, weights) for name in list_models()]
    params = [f"params, {classes} classes" for classes in args.classes]
    numbers = ["GMACs", *params]
    marks = Marks()
    cells = [
        [
            marks(row["model"], _spare_note(row["spare_params"])),
            *(f"{row['params'][str(classes)]:,}" for classes in args.classes),
            f"{row['gmacs']:.3f}",
            row["code"],
            str(len(row["weights"]) or "-"),
            row["paper"],
        ]
        for row in rows
    ]
    print(format_table(["model", *params, "GMACs", "code", "weights", "paper"], cells, right=numbers))
    height, width = args.size
    gmacs = (
        f"GMACs: multiply-accumulates of convolutions and matrix products, {args.classes[0]} classes, "
        f"{height}x{width}; FLOPs are twice that."
    )
    print("", *map(wrap, [*marks.lines(), gmacs]), "", sep="\n")
    marks = Marks()
    cells = [
        [
            row["weights"],
            row["model"],
            _percent(row["val_miou"], row["val_miou_of"], marks),
            "-" if row["iterations"] is None else f"{row['iterations']:,}",
            f"{row['dataset']} ({row['licence']})",
        ]
        for row in weights
    ]
    numbers = ["val mIoU %", "iterations"]
    print(format_table(["weights", "model", *numbers, "trained on"], cells, right=numbers))
    print(*map(wrap, marks.lines()), sep="\n")
    if args.json:
        document = {"classes": args.classes, "size": list(args.size), "models": rows, "weights": weights}
        write_text(args.json, json.dumps(document, indent=1))
    return 0


def _spare_note(spare: dict[str, int]) -> str | None:
    """Of the parameters that no output depends on, by the number of classes."""
    if not any(spare.values()):
        return None
    counts = ", ".join(f"{count:,} for {classes} classes" for classes, count in spare.items())
    return f"the published count has parameters that no output depends on: {counts}"


def _percent(miou: float | None, miou_of: str | None, marks: Callable[[str, str | None], str]) -> str:
    """``miou_of`` is what it was measured on, where that is not the weights themselves."""
    if miou is None:
        return "-"
    return marks(f"{100 * miou:.2f}", miou_of and f"of {miou_of}: these weights were trained on val, too")


def _network(name: str, classes: list[int], size: tuple[int, int], weights: list[dict]) -> dict:
    import torch

    from lsabinet_core.models import create_model
    from lsabinet_core.models.complexity import count_macs, count_parameters, count_spare_parameters

    # On the meta device nothing is allocated, initialised or computed.
    with torch.device("meta"):
        models = [create_model(name, number) for number in classes]
    return {
        "model": name,
        "params": {str(number): count_parameters(model) for number, model in zip(classes, models)},
        "spare_params": {str(number): count_spare_parameters(model) for number, model in zip(classes, models)},
        "gmacs": round(count_macs(models[0], size) / 1e9, 3),
        "paper": models[0].paper,
        "year": models[0].year,
        "code": CODE,
        "weights": [row["weights"] for row in weights if row["model"] == name],
    }


def _weights() -> list[dict]:
    from lsabinet_core.benchmark.trained import total_iterations
    from lsabinet_core.models.weights import list_weights, read_metadata

    return [
        {
            "weights": name,
            "model": (metadata := read_metadata(name)).architecture,
            "classes": len(metadata.label_set),
            "dataset": metadata.dataset,
            "val_miou": metadata.training.get("val_miou"),
            "val_miou_of": metadata.training.get("val_miou_of"),
            "iterations": total_iterations(metadata.training),
            "licence": metadata.licence,
        }
        for name in list_weights()
    ]
