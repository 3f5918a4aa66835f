"""``lsabinet models``: list the networks and the shipped weights."""

import argparse
import json
from pathlib import Path

from lsabinet_core.cli.segmenter_options import parse_size, positive

HELP = "list the networks with their parameters, GMACs and papers, and the shipped weights"
CODE = "own, Apache-2.0"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--classes", type=positive, nargs="+", default=[11, 19], metavar="C", help="numbers of classes (default: 11 19)"
    )
    parser.add_argument(
        "--size", type=parse_size, default=(360, 480), metavar="HxW", help="image size (default: 360x480)"
    )
    parser.add_argument("--json", type=Path, metavar="F", help="also write the list to this file, as JSON")


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.files import write_text
    from lsabinet_core.models import list_models
    from lsabinet_core.text_table import Marks, format_table, percent, wrap

    weights = _weights()
    rows = [_network(name, args.classes, args.size, weights) for name in list_models()]
    params = [f"params, {classes} classes" for classes in args.classes]
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
    print(format_table(["model", *params, "GMACs", "code", "weights", "paper"], cells, ("model", "code", "paper")))
    height, width = args.size
    gmacs = (
        f"GMACs: multiply-accumulate operations of convolutions and matrix products for {args.classes[0]} classes at "
        f"{height}x{width}; FLOPs are twice as many."
    )
    print("", *map(wrap, [*marks.lines(), gmacs]), "", sep="\n")
    marks = Marks()
    cells = [
        [
            row["weights"],
            row["model"],
            marks(
                percent(row["val_miou"]),
                row["val_miou_of"] and f"of {row['val_miou_of']}: these weights were trained on val as well",
            ),
            "-" if row["iterations"] is None else f"{row['iterations']:,}",
            f"{row['dataset']} ({row['licence']})",
        ]
        for row in weights
    ]
    print(
        format_table(
            ["weights", "model", "val mIoU %", "iterations", "trained on"], cells, ("weights", "model", "trained on")
        )
    )
    print(*map(wrap, marks.lines()), sep="\n")
    if args.json:
        document = {"classes": args.classes, "size": list(args.size), "models": rows, "weights": weights}
        write_text(args.json, json.dumps(document, indent=1))
    return 0


def _spare_note(spare: dict[str, int]) -> str | None:
    """About parameters that no output depends on, by the number of classes."""
    if not any(spare.values()):
        return None
    counts = ", ".join(f"{count:,} for {classes} classes" for classes, count in spare.items())
    return f"the published count includes parameters that no output depends on: {counts}"


def _network(name: str, classes: list[int], size: tuple[int, int], weights: list[dict]) -> dict:
    import torch

    from lsabinet_core.models import create_model, model_class
    from lsabinet_core.models.complexity import count_macs, count_parameters, count_spare_parameters

    network = model_class(name)
    with torch.device("meta"):
        models = {number: create_model(name, number) for number in classes}
    return {
        "model": name,
        "params": {str(number): count_parameters(model) for number, model in models.items()},
        "spare_params": {str(number): count_spare_parameters(model) for number, model in models.items()},
        "gmacs": round(count_macs(models[classes[0]], size) / 1e9, 3),
        "paper": network.paper,
        "year": network.year,
        "code": CODE,
        "weights": [row["weights"] for row in weights if row["model"] == name],
    }


def _weights() -> list[dict]:
    from lsabinet_core.models.weights import list_weights, read_metadata, total_iterations

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
