"""``lsabinet compare``: draw the predictions of several networks on the same images, one row per network."""

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from lsabinet_core.cli.segmenter_options import add_device_arguments, count, parse_size, positive
from lsabinet_core.data import DATASETS

if TYPE_CHECKING:
    from lsabinet_core.data import Sample
    from lsabinet_core.labels import LabelSet

HELP = "draw the predictions of several networks on the same images and outline the differences"

DEFAULT_COUNT = 4
RUN_STEMS = ("last", "ema", "best")
"""File stems that every training run uses, and that therefore do not identify a network."""
MAX_IMAGES = 24
"""Image viewers cannot open wider sheets."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", nargs="+", metavar="W", help="weights files or names of shipped weights")
    source = parser.add_argument_group("images").add_mutually_exclusive_group(required=True)
    source.add_argument("--images", nargs="+", type=Path, metavar="FILE|DIR", help="images or folders of images")
    source.add_argument("--dataset", metavar="D", help=f"data set, drawn with its labels: {', '.join(DATASETS)}")
    group = parser.add_argument_group("data set options")
    group.add_argument("--root", type=Path, metavar="DIR", help="folder of the data set (not used by synthetic)")
    group.add_argument("--split", default="val", metavar="S", help="split (default: val)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--count",
        type=positive,
        metavar="N",
        help=f"number of images, evenly spaced (default: {DEFAULT_COUNT} for a data set, all for --images)",
    )
    which.add_argument("--indices", nargs="+", type=count, metavar="I", help="indices of the images, from 0")
    parser.add_argument("--out", type=Path, required=True, metavar="F", help="picture to write: .png or .jpg")
    parser.add_argument(
        "--size", type=parse_size, metavar="HxW", help="size of each image on the sheet (default: 320 pixels wide)"
    )
    add_device_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.errors import LsabinetError
    from lsabinet_core.inference import Segmenter
    from lsabinet_core.models.weights import read_metadata
    from lsabinet_core.plots.comparison import draw_comparison
    from lsabinet_core.plots.panels import check_picture_path

    check_picture_path(args.out)
    if args.size is not None and min(args.size) < 1:
        raise LsabinetError(f"--size: expected at least 1x1, got {args.size[0]}x{args.size[1]}")
    label_set = _common_classes({weights: read_metadata(weights).label_set for weights in args.weights})
    samples = _samples(args, label_set)
    names = network_names(args.weights)
    predictions = {}
    with Progress("segmenting", len(names) * len(samples)) as progress:
        for name, weights in zip(names, args.weights):
            masks = predictions[name] = []
            # With so few images per network, comparing the engines first would take longer.
            options = {"device": args.device, "threads": args.threads, "backend": "torch"}
            with Segmenter.from_pretrained(weights, **options) as segmenter:
                for sample in samples:
                    masks.append(segmenter.segment(sample.image, confidence=False).mask)
                    progress.update(sum(map(len, predictions.values())))
    draw_comparison(args.out, samples, predictions, label_set, args.size)
    print(f"{', '.join(names)} on {len(samples)} image{'s' * (len(samples) > 1)}: {args.out}")
    return 0


def network_names(weights: list[str]) -> list[str]:
    """Return short, unique names: the file's stem, ``RUN/last`` for files of a run, numbered if still equal."""
    paths = [Path(path) for path in weights]
    names = [f"{path.parent.name}/{path.stem}" if path.stem in RUN_STEMS else path.stem for path in paths]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)})"
        for index, name in enumerate(names)
    ]


def _common_classes(label_sets: "dict[str, LabelSet]") -> "LabelSet":
    """Return the common label set. Raise WeightsError if the classes differ."""
    from lsabinet_core.errors import WeightsError

    (first, common), *others = label_sets.items()
    for weights, label_set in others:
        if label_set.names != common.names:
            raise WeightsError(
                f"expected networks with the same classes: {first} has {common.name} ({len(common)} classes), "
                f"{weights} has {label_set.name} ({len(label_set)} classes)"
            )
    return common


def _samples(args: argparse.Namespace, label_set: "LabelSet") -> "list[Sample]":
    """Return the images to draw, with their labels if they have any."""
    from lsabinet_core.data import open_dataset
    from lsabinet_core.errors import LsabinetError
    from lsabinet_core.evaluation.evaluate import check_label_sets

    if args.dataset is not None:
        dataset = open_dataset(args.dataset, args.root, args.split)
        check_label_sets(label_set, dataset.label_set)
        chosen = _choose(args, len(dataset), args.count or DEFAULT_COUNT)
        return [dataset.sample(index) for index in chosen]
    paths = _image_paths(args.images)
    if args.out.exists() and any(path.exists() and path.samefile(args.out) for path in paths):
        raise LsabinetError(f"--out {args.out} is one of the images: choose another file")
    return [_read(paths[index]) for index in _choose(args, len(paths), args.count or len(paths))]


def _choose(args: argparse.Namespace, length: int, wanted: int) -> list[int]:
    from lsabinet_core.errors import LsabinetError
    from lsabinet_core.plots.samples import spread

    chosen = args.indices if args.indices is not None else spread(length, wanted)
    outside = [index for index in chosen if index >= length]
    if outside:
        raise LsabinetError(f"--indices: expected 0..{length - 1} for {length} images, got {outside[0]}")
    if len(chosen) > MAX_IMAGES:
        raise LsabinetError(f"expected at most {MAX_IMAGES} images on one sheet, got {len(chosen)}: use --count")
    return chosen


def _image_paths(inputs: list[Path]) -> list[Path]:
    """Return the files in ``inputs`` and the images in its folders, sorted by name. Raise FrameError."""
    from lsabinet_core.errors import FrameError
    from lsabinet_core.inference.sources import list_images

    paths = []
    for path in inputs:
        if not path.exists():
            raise FrameError(f"no input {str(path)!r}: expected an image or a folder of images")
        paths += list_images(path) if path.is_dir() else [path]
    return paths


def _read(path: Path):
    """Read an image as an unlabelled sample. Raise FrameError if the file is not an image."""
    from lsabinet_core.data import Sample
    from lsabinet_core.errors import FrameError
    from lsabinet_core.inference.sources import open_source

    with contextlib.closing(open_source(path)) as source:
        if source.kind != "images":
            raise FrameError(f"{path}: expected an image, got a {source.kind}: use `lsabinet predict` for it")
        [(name, image)] = source
    return Sample(image, None, name)
