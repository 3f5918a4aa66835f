"""lsabinet train"""

import argparse
import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from lsabinet_core.cli.training_options import add_dataset_arguments, add_run_arguments, open_device

if TYPE_CHECKING:
    import torch

    from lsabinet_core.training.observer import Observer
    from lsabinet_core.training.recipe import Recipe
    from lsabinet_core.training.run_folder import RunFolder

HELP = "train a network on a data set with a recipe"

DEFAULT_RECIPE = "paper_camvid"
DEFAULT_VAL_SPLIT = "val"

LEFT_OUT = "drives"
"""Not one split but one per sequence."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", help=f"name of a shipped recipe or YAML file (default: {DEFAULT_RECIPE})")
    add_dataset_arguments(parser)
    parser.add_argument(
        "--split",
        default="train",
        help="split to train on (default: %(default)s); 'drives': leave-one-sequence-out over train + val, one run per "
        "sequence; repeat the command to continue",
    )
    parser.add_argument("--val-split", help=f"split to validate on (default: {DEFAULT_VAL_SPLIT})")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out with its own recipe")
    parser.add_argument("--model", help="network to train instead of the recipe's")
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.sweep import deadline

    ends = deadline(args)
    from lsabinet_core.training import distributed

    with distributed.processes(open_device(args)) as device:
        return (_train_left_out if args.split == LEFT_OUT else _train)(args, device, ends)


def _train(args: argparse.Namespace, device: "torch.device", ends: float | None) -> int:
    from lsabinet_core.data import open_dataset
    from lsabinet_core.text_table import percent
    from lsabinet_core.training import distributed
    from lsabinet_core.training.run_folder import RunFolder
    from lsabinet_core.training.trainer import Trainer

    folder = RunFolder(args.out)
    val_split = args.val_split or DEFAULT_VAL_SPLIT
    facts = {"dataset": args.dataset, "split": args.split, "val_split": val_split}
    recipe = _recorded_recipe(args, folder, facts) if args.resume else _recipe(args)
    train = open_dataset(args.dataset, args.root, args.split)
    val = open_dataset(args.dataset, args.root, val_split)
    with contextlib.ExitStack() as stack:
        observer = _observer(stack, folder.tensorboard) if distributed.is_main() else lambda event: None
        trainer = Trainer(
            recipe, train, val, folder, device=device, workers=args.workers, observer=observer, deadline=ends
        )
        if args.resume:
            trainer.resume()
        else:
            facts = {**facts, "recipe": str(args.recipe or DEFAULT_RECIPE), "seed": recipe.seed}
            distributed.on_main(lambda: folder.create(recipe, facts), device)
        summary = trainer.fit()
    if summary is not None:
        miou = summary["val_miou"]
        figure = f"val mIoU {'undefined, without a labelled pixel,' if miou is None else f'{percent(miou)} %'}"
        if trainer.validation.seen:
            figure += " on images that it was trained on,"
        print(f"{figure} after {summary['iterations']} iterations: {folder.path / summary['weights']}")
    elif distributed.is_main():
        print(
            f"stopped at iteration {trainer.iteration} after --seconds {args.seconds}, continue with: "
            f"{_resume_command(args, val_split)}"
        )
    return 0


def _resume_command(args: argparse.Namespace, val_split: str) -> str:
    options = {
        "--dataset": args.dataset,
        "--root": args.root,
        "--split": args.split,
        "--val-split": val_split,
        "--out": args.out,
    }
    given = (str(word) for option, value in options.items() if value is not None for word in (option, value))
    return shlex.join(["lsabinet", "train", "--resume", *given])


def _train_left_out(args: argparse.Namespace, device: "torch.device", ends: float | None) -> int:
    from lsabinet_core.cli.sweep import train_and_tabulate
    from lsabinet_core.data import open_dataset
    from lsabinet_core.data.listed import ListedDataset
    from lsabinet_core.errors import TrainingError
    from lsabinet_core.training import distributed
    from lsabinet_core.training.left_out import left_out_runs, left_out_table
    from lsabinet_core.training.run_history import is_run

    if args.resume:
        raise TrainingError("--split drives continues by itself: repeat the command, without --resume")
    if distributed.world_size() > 1:
        raise TrainingError("--split drives trains in one process: start it without torchrun")
    if args.val_split:
        raise TrainingError("--split drives validates on the sequence that is left out: remove --val-split")
    if is_run(args.out):
        raise TrainingError(f"{args.out} holds a run: --split drives makes a folder of runs, choose another --out")
    dataset = open_dataset(args.dataset, args.root, "train")
    if not isinstance(dataset, ListedDataset):
        raise TrainingError(
            f"--split drives needs lists of images whose file names start with their sequence, such as those of camvid "
            f"and folder, got --dataset {args.dataset}"
        )
    return train_and_tabulate(
        args,
        left_out_runs(_recipe(args), args.dataset, dataset.drives()),
        lambda split: open_dataset(args.dataset, args.root, split),
        lambda rows: left_out_table(args.out, rows),
        device,
        ends=ends,
        go_on=False,
    )


def _recipe(args: argparse.Namespace) -> "Recipe":
    from lsabinet_core.training.recipe import load_recipe

    return load_recipe(args.recipe or DEFAULT_RECIPE, args.overrides + ([f"model={args.model}"] if args.model else []))


def _recorded_recipe(args: argparse.Namespace, folder: "RunFolder", facts: dict) -> "Recipe":
    """The recipe of the run that ``folder`` holds, which must have been started with the same data."""
    from lsabinet_core.errors import TrainingError

    if args.overrides or args.model:
        raise TrainingError("--resume continues by the run's own recipe: remove --set and --model")
    recipe, recorded = folder.open()
    if args.recipe:
        facts = {**facts, "recipe": str(args.recipe)}
    different = [key for key, value in facts.items() if recorded.get(key) != value]
    if different:
        key = different[0]
        raise TrainingError(f"{args.out} was trained with {key} {recorded.get(key)!r}, not {facts[key]!r}")
    return recipe


def _observer(stack: contextlib.ExitStack, curves: Path) -> "Observer":
    """Shows the progress and, where TensorBoard is installed, writes the folder ``curves``; closed by ``stack``."""
    import importlib.util

    from lsabinet_core.cli.progress import TrainingProgress

    observers: list[Observer] = [stack.enter_context(TrainingProgress())]
    if importlib.util.find_spec("tensorboard"):
        from lsabinet_core.training.tensorboard import TensorBoardLog

        observers.append(stack.enter_context(TensorBoardLog(curves)))

    def observe(event: dict) -> None:
        for observer in observers:
            observer(event)

    return observe
