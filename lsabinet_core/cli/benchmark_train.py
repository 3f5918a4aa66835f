"""``lsabinet benchmark train``"""

import argparse
import json
import sys
from pathlib import Path

from lsabinet_core.cli.benchmark_report import machine_line
from lsabinet_core.cli.segmenter_options import add_threads_argument, positive
from lsabinet_core.cli.training_options import add_workers_argument

HELP = "compare an iteration of `lsabinet train` with a plain eager fp32 NCHW loop, and measure the input pipeline"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe", metavar="R", help="shipped name or YAML file (default: camvid on a GPU, camvid_cpu on a CPU)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change the recipe"
    )
    parser.add_argument(
        "--dataset",
        choices=("camvid", "cityscapes"),
        default="camvid",
        help="whose classes to train on (default: %(default)s)",
    )
    parser.add_argument("--batch", type=positive, metavar="N", help="images per batch (default: the recipe's)")
    parser.add_argument(
        "--rounds", type=positive, default=10, metavar="N", help="measured steps of each kind (default: 10)"
    )
    add_workers_argument(parser)
    add_threads_argument(parser)
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--json", type=Path, metavar="F", help="write the figures to this file as JSON")


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.benchmark.training import benchmark_training
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.files import write_text
    from lsabinet_core.inference.backends.choose import choose_device
    from lsabinet_core.inference.threads import limit_threads
    from lsabinet_core.training.recipe import load_recipe

    batch = [f"batch_size={args.batch}"] if args.batch else []
    device = choose_device(args.device)
    name = args.recipe or ("camvid" if device.type == "cuda" else "camvid_cpu")
    recipe = load_recipe(name, [*args.overrides, *batch])
    limit_threads(args.threads)
    if recipe.compile:
        print("compiling the step first: a few minutes", file=sys.stderr, flush=True)
    with Progress() as progress:
        figures = benchmark_training(
            recipe,
            dataset=args.dataset,
            rounds=args.rounds,
            workers=args.workers,
            device=device,
            progress=progress.step,
        )
    for warning in figures["warnings"]:
        print(f"lsabinet: warning: {warning}", file=sys.stderr)
    print(_report(name, figures))
    if args.json is not None:
        write_text(args.json, json.dumps({"recipe": name, **figures}, indent=1) + "\n")
    return 0


def _report(recipe: str, figures: dict) -> str:
    settings, machine, training = figures["settings"], figures["machine"], figures["training"]
    crop, image = (f"{size[0]}x{size[1]}" for size in (settings["crop_size"], settings["image_size"]))
    compiled = "compiled" if settings["compile"] and not figures["warnings"] else "eager"
    heads = ", auxiliary heads" if settings["auxiliary_weight"] else ""
    lovasz = ", Lovász loss" if settings["lovasz_weight"] else ""
    average = ", averaged weights" if settings["ema_decay"] else ""
    kinds = {
        "lsabinet": f"lsabinet train: {settings['precision']}, channels last, {compiled}{average}",
        "plain": "plain loop: fp32, NCHW, eager",
    }
    width = max(map(len, kinds.values()))
    lines = [
        f"{settings['model']}, {settings['classes']} classes, recipe {recipe}: batches of {settings['batch_size']} "
        f"crops of {crop}, {settings['optimizer']}{heads}{lovasz}",
        machine_line(machine),
        "",
        f"{'step':<{width}}  {'median ms':>10}  {'images/s':>9}  {'first step s':>12}",
    ]
    for name, text in kinds.items():
        row = figures[name]
        lines.append(
            f"{text:<{width}}  {row['step_ms']:10.1f}  {row['images_per_s']:9.2f}  {row['first_step_s']:12.1f}"
        )
    lines += [
        f"ratio {figures['speedup']:.2f} (medians of {settings['rounds']} interleaved steps each)",
        "",
        f"input pipeline alone: {figures['pipeline_images_per_s']:.1f} images/s "
        f"({settings['input_pipeline']}, {settings['workers']} workers, from images of {image})",
        f"pipeline and step together: {training['images_per_s']:.2f} images/s, "
        f"{100 * training['utilisation']:.0f} % of the step alone; {100 * training['waiting']:.1f} % of the time "
        "without a batch",
    ]
    if training["device_busy"] is not None:
        lines.append(f"the GPU is within steps for {100 * training['device_busy']:.0f} % of the time, by its own clock")
    return "\n".join(lines)
