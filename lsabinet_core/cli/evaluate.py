"""``lsabinet evaluate``: mIoU and latency of weights on a labelled split."""

import argparse
import json
from pathlib import Path

from lsabinet_core.cli.segmenter_options import add_segmenter_arguments, open_segmenter, positive

HELP = "measure weights on a labelled split: IoU per class, mIoU, latency"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True, metavar="D", help="camvid, cityscapes or synthetic")
    parser.add_argument("--root", type=Path, metavar="DIR", help="the data set's folder (synthetic needs none)")
    parser.add_argument("--split", default="val", metavar="S", help="which split (val)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N images")
    parser.add_argument("--json", type=Path, metavar="F", help="write the figures to this file as JSON")
    add_segmenter_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.data import open_dataset
    from lsabinet_core.evaluation.evaluate import check_label_sets, evaluate
    from lsabinet_core.files import write_text

    dataset = open_dataset(args.dataset, args.root, args.split)
    with open_segmenter(args) as segmenter:
        check_label_sets(segmenter.label_set, dataset.label_set)
        # The first frames are slow (allocation, kernel choice); they would show in p99.
        segmenter.warm_up(dataset.sample(0).image.shape[:2])
        with Progress("evaluating") as progress:
            report = evaluate(segmenter, dataset, limit=args.limit, progress=progress.update)
    print(f"{args.weights} on {dataset.name} {dataset.split}\n\n{report.table()}")
    if args.json is not None:
        write_text(args.json, json.dumps(report.to_dict(), indent=2) + "\n")
    return 0
