"""lsabinet train"""

import argparse
import contextlib
import sys
from pathlib import Path

from lsabinet_core.cli.campaign_options import add_dataset_arguments, add_workers_argument
from lsabinet_core.cli.segmenter_options import count
from lsabinet_core.cores import at_most_cores

HELP = "train a network on a data set by a recipe"

DEFAULT_RECIPE = "paper_camvid"
DEFAULT_VAL_SPLIT = "val"

DRIVES = "drives"
"""Not one split but one for each drive."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", help=f"shipped name or YAML file (default: {DEFAULT_RECIPE})")
    add_dataset_arguments(parser)
    parser.add_argument(
        "--split",
        default="train",
        help="split to train on (default: %(default)s); 'drives': for each drive of train + val a run on the "
        "others, validated on it; called again it goes on where it was cut",
    )
    parser.add_argument("--val-split", help=f"split to validate on (default: {DEFAULT_VAL_SPLIT})")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, by its own recipe")
    parser.add_argument("--model", help="network to train in place of the recipe's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="e.g. optimizer.lr=0.002"
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu or cuda (default: %(default)s); torchrun gives each process its own"
    )
    add_workers_argument(parser)
    parser.add_argument("--threads", type=count, default=0, help="CPU threads for the network; 0: all cores")


def run(args: argparse.Namespace) -> int:
    import torch

    from lsabinet_core.inference.backends.torch_ import choose_device
    from lsabinet_core.training import distributed

    if args.threads:
        torch.set_num_threads(at_most_cores(args.threads))
    with distributed.processes(choose_device(args.device)) as device:
        return (_train_drives if args.split == DRIVES else _train)(args, device)


def _train(args: argparse.Namespace, device) -> int:
    from lsabinet_core.data import open_dataset
    from lsabinet_core.training import distributed
    from lsabinet_core.training.run_folder import RunFolder
    from lsabinet_core.training.trainer import Trainer

    folder = RunFolder(args.out)
    val_split = args.val_split or DEFAULT_VAL_SPLIT
    facts = {"dataset": args.dataset, "split": args.split, "val_split": val_split}
    recipe = _recorded_recipe(args, folder, facts) if args.resume else _recipe(args)
    train = open_dataset(args.dataset, args.root, args.split)
    val = open_dataset(args.dataset, args.root, val_split)
    with contextlib.ExitStack() as watched:
        observer = watched.enter_context(_observe(folder.tensorboard)) if distributed.is_main() else _ignore
        trainer = Trainer(recipe, train, val, folder, device=device, workers=args.workers, observer=observer)
        if args.resume:
            trainer.resume()
        else:
            facts = {**facts, "recipe": str(args.recipe or DEFAULT_RECIPE), "seed": recipe.seed}
            distributed.on_main(lambda: folder.create(recipe, facts), device)
        summary = trainer.fit()
    if summary is not None:
        weights = folder.path / summary["weights"]
        figure = f"val mIoU {_percent(summary['val_miou'])}"
        if trainer.validation.seen:
            figure += " on images that it has learned from,"
        print(f"{figure} after {summary['iterations']} iterations: {weights}")
    return 0


def _train_drives(args: argparse.Namespace, device) -> int:
    from lsabinet_core.errors import TrainingError
    from lsabinet_core.training import distributed
    from lsabinet_core.training.drives import train_drives
    from lsabinet_core.training.run_history import is_run

    if args.dataset not in ("camvid", "folder"):
        raise TrainingError(f"--split drives is for --dataset camvid and folder, got {args.dataset}")
    if args.resume:
        raise TrainingError("--split drives goes on by itself: call it as before, without --resume")
    if distributed.world_size() > 1:
        raise TrainingError("--split drives trains in one process: start it without torchrun")
    if args.val_split:
        raise TrainingError("--split drives validates on the drive that it leaves out: leave out --val-split")
    if is_run(args.out):
        raise TrainingError(f"{args.out} holds a run: --split drives makes a folder of runs, choose another --out")
    with _observe() as observer:
        summary = train_drives(
            _recipe(args), args.dataset, args.root, args.out, device=device, workers=args.workers, observer=observer
        )
    print(
        f"val mIoU {_percent(summary['val_miou'])} on the drive left out, the mean of {len(summary['drives'])}: "
        f"{args.out / 'drives.json'}"
    )
    return 0


def _percent(fraction: float | None) -> str:
    return "undefined, without a labelled pixel," if fraction is None else f"{100 * fraction:.2f} %"


def _recipe(args: argparse.Namespace):
    from lsabinet_core.training.recipe import load_recipe

    return load_recipe(args.recipe or DEFAULT_RECIPE, args.overrides + ([f"model={args.model}"] if args.model else []))


def _recorded_recipe(args: argparse.Namespace, folder, facts: dict):
    """The recipe of the run that ``folder`` holds, which must have been started with the same data."""
    from lsabinet_core.errors import TrainingError

    if args.overrides or args.model:
        raise TrainingError("--resume goes on by the run's own recipe: leave out --set and --model")
    recipe, recorded = folder.open()
    if args.recipe:
        facts = {**facts, "recipe": str(args.recipe)}
    different = [key for key, value in facts.items() if recorded.get(key) != value]
    if different:
        key = different[0]
        raise TrainingError(f"{args.out} was trained with {key} {recorded.get(key)!r}, not {facts[key]!r}")
    return recipe


@contextlib.contextmanager
def _observe(curves: Path | None = None):
    """An observer that shows the progress and, where TensorBoard is installed, writes the folder ``curves``."""
    import importlib.util

    from lsabinet_core.cli.training_progress import TrainingProgress

    with contextlib.ExitStack() as stack:
        observers = [stack.enter_context(TrainingProgress(sys.stderr))]
        if curves is not None and importlib.util.find_spec("tensorboard"):
            from lsabinet_core.training.tensorboard import TensorBoardLog

            observers.append(stack.enter_context(TensorBoardLog(curves)))

        def observe(event: dict) -> None:
            for observer in observers:
                observer(event)

        yield observe


def _ignore(event: dict) -> None:
    """A process beside the main one shows nothing."""
