"""lsabinet train"""

import argparse
import sys
from pathlib import Path

HELP = "train a network on a data set by a recipe"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", default="paper_camvid", help="shipped name or YAML file (default: %(default)s)")
    parser.add_argument("--dataset", choices=("camvid", "cityscapes", "synthetic"), default="camvid")
    parser.add_argument("--root", type=Path, help="the data set's folder (not for synthetic)")
    parser.add_argument("--split", default="train", help="split to train on (default: %(default)s)")
    parser.add_argument("--val-split", default="val", help="split to validate on (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, by its own recipe")
    parser.add_argument("--model", help="network to train in place of the recipe's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="e.g. optimizer.lr=0.002"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare batches (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads for the network; 0: all cores")


def run(args: argparse.Namespace) -> int:
    import torch

    from lsabinet_core.cli.training_progress import TrainingProgress
    from lsabinet_core.data import open_dataset
    from lsabinet_core.errors import TrainingError
    from lsabinet_core.inference.backends.torch_ import choose_device
    from lsabinet_core.training.recipe import load_recipe
    from lsabinet_core.training.run_folder import RunFolder
    from lsabinet_core.training.trainer import Trainer

    folder = RunFolder(args.out)
    facts = {"dataset": args.dataset, "split": args.split, "val_split": args.val_split}
    if args.resume:
        if args.overrides or args.model:
            raise TrainingError("--resume goes on by the run's own recipe: leave out --set and --model")
        recipe, recorded = folder.open()
        different = [key for key, value in facts.items() if recorded.get(key) != value]
        if different:
            key = different[0]
            raise TrainingError(f"{args.out} was trained with {key} {recorded.get(key)!r}, not {facts[key]!r}")
    else:
        overrides = args.overrides + ([f"model={args.model}"] if args.model else [])
        recipe = load_recipe(args.recipe, overrides)
    if args.threads:
        torch.set_num_threads(args.threads)
    train = open_dataset(args.dataset, args.root, args.split)
    val = open_dataset(args.dataset, args.root, args.val_split)
    device = choose_device(args.device)
    if not args.resume:
        folder.create(recipe, {**facts, "recipe": str(args.recipe), "seed": recipe.seed})
    with TrainingProgress(sys.stderr) as progress:
        trainer = Trainer(recipe, train, val, folder, device=device, workers=args.workers, observer=progress)
        if args.resume:
            trainer.resume()
        summary = trainer.fit()
    print(f"val mIoU {100 * summary['val_miou']:.2f} % after {summary['iterations']} iterations: {folder.last}")
    return 0
