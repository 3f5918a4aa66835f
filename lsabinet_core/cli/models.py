"""lsabinet models"""

import argparse
import json
from pathlib import Path

from lsabinet_core.cli.segmenter_options import parse_size, positive

HELP = "list the networks with their parameters and operations, and the weights that ship"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--classes", type=positive, default=11, metavar="C", help="classes to count for (11)")
    parser.add_argument(
        "--size", type=parse_size, default=(360, 480), metavar="HxW", help="size to count for (360x480)"
    )
    parser.add_argument("--json", type=Path, metavar="F", help="also write the list to this file")


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.files import write_text
    from lsabinet_core.models import create_model, list_models
    from lsabinet_core.models.complexity import count_macs, count_parameters
    from lsabinet_core.models.weights import list_weights, read_metadata

    rows = []
    for name in list_models():
        model = create_model(name, args.classes).eval()
        rows.append(
            {"model": name, "params": count_parameters(model), "gmacs": round(count_macs(model, args.size) / 1e9, 3)}
        )
    weights = [
        {
            "weights": name,
            "model": (metadata := read_metadata(name)).architecture,
            "classes": len(metadata.label_set),
            "dataset": metadata.dataset,
            "val_miou": metadata.training.get("val_miou"),
            "licence": metadata.licence,
        }
        for name in list_weights()
    ]
    height, width = args.size
    print(f"{'model':<16} {'params':>12} {'GMACs':>8}   ({args.classes} classes, {height}x{width}, convolutions only)")
    for row in rows:
        print(f"{row['model']:<16} {row['params']:>12,} {row['gmacs']:>8.3f}")
    print(f"\n{'weights':<20} {'model':<12} {'val mIoU %':>10}   trained on")
    for row in weights:
        miou = "-" if row["val_miou"] is None else f"{100 * row['val_miou']:.2f}"
        print(f"{row['weights']:<20} {row['model']:<12} {miou:>10}   {row['dataset']} ({row['licence']})")
    if args.json:
        document = {"classes": args.classes, "size": list(args.size), "models": rows, "weights": weights}
        write_text(args.json, json.dumps(document, indent=1))
    return 0
