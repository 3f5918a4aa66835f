"""``lsabinet export``: export weights to ONNX, OpenVINO, TorchScript or TensorRT."""

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lsabinet_core.cli.output_files import check_output_files
from lsabinet_core.cli.segmenter_options import DEFAULT_WEIGHTS, parse_size, positive
from lsabinet_core.data import DATASETS
from lsabinet_core.errors import BackendError, FrameError, LsabinetError

if TYPE_CHECKING:
    import numpy as np

    from lsabinet_core.cli.calibration_frames import SomeSamples
    from lsabinet_core.inference.artefact import Artefact, ExportInfo
    from lsabinet_core.inference.export import Calibration, Verify
    from lsabinet_core.inference.network import Network
    from lsabinet_core.inference.parity import Infer

HELP = "export weights to ONNX, OpenVINO, TorchScript or TensorRT, and verify the result against PyTorch"

# Copies of the values in lsabinet_core.inference.export, which is imported only when the verb runs.
FORMATS = ("onnx", "openvino", "torchscript", "tensorrt")
PRECISIONS = ("fp32", "fp16", "int8")
DYNAMIC = "dynamic"
VERIFIED_FRAMES = 20
CALIBRATION_FRAMES = 300
HELD_OUT_EVERY = 4
"""Every fourth frame of the int8 split is held out from calibration to measure the loss of mIoU."""
MAX_MIOU_LOSS = 0.005
MIN_MASK_AGREEMENT = {"pixel_agreement": 0.97, "miou": 0.85}
"""Minimum agreement of int8 masks with fp32 masks without labels: share of the pixels, and mIoU with the fp32 masks in
place of labels."""
INT8_SPLIT = "train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        metavar="W",
        default=DEFAULT_WEIGHTS,
        help=f"weights file or name of shipped weights (default: {DEFAULT_WEIGHTS})",
    )
    parser.add_argument("--to", required=True, choices=FORMATS, help="export format")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp32", help="precision; int8 requires --to openvino (default: fp32)"
    )
    parser.add_argument(
        "--size",
        type=parse_size_or_dynamic,
        metavar="HxW",
        help="input size, or dynamic for any size (onnx and openvino only) (default: the trained size)",
    )
    parser.add_argument(
        "--batch",
        type=parse_batch,
        metavar="N",
        help="batch size, or dynamic for any (default: dynamic; 1 for tensorrt)",
    )
    parser.add_argument(
        "--output",
        choices=("logits", "mask"),
        default="logits",
        help="model output: logits at low resolution, for this package, or a mask of class ids at the input size, for "
        "other programs (default: logits)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="F", help="file to write (default: fill only the engine cache of this machine)"
    )
    frames = parser.add_argument_group("frames for verification and for int8 calibration")
    frames.add_argument(
        "--verify", action="store_true", help="compare with PyTorch fp32 first; write no file if the results differ"
    )
    frames.add_argument(
        "--frames",
        metavar="PATH",
        help="verify on an image, a folder of images, a video or a bag. For int8, instead of a data set: calibrate on "
        f"frames spread over it, and always verify on every {HELD_OUT_EVERY}th of them, not used for calibration",
    )
    frames.add_argument(
        "--dataset",
        metavar="D",
        help=f"{', '.join(DATASETS)} (default: synthetic for --verify, none for int8)",
    )
    frames.add_argument("--root", type=Path, metavar="DIR", help="folder of the data set")
    frames.add_argument("--split", metavar="S", help="split of the data set (default: train for int8, otherwise val)")
    frames.add_argument(
        "--verify-split",
        metavar="S",
        help=f"int8: verify on this split (default: every {HELD_OUT_EVERY}th frame of --split, not used for "
        "calibration)",
    )
    frames.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help=f"verify on at most N frames (default: {VERIFIED_FRAMES}; all for int8)",
    )
    frames.add_argument(
        "--calibration-frames",
        type=positive,
        metavar="N",
        help=f"int8: maximum number of calibration frames (default: {CALIBRATION_FRAMES})",
    )
    frames.add_argument(
        "--keep-floating",
        action="append",
        metavar="REGEX",
        help="int8: keep operators whose OpenVINO name matches in floating point; repeatable (default: the sensitive "
        "operators of LSA-BiNet)",
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write the export settings and parity to this file")


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.logs import show_log
    from lsabinet_core.files import write_text
    from lsabinet_core.inference.export import ExportSettings, export
    from lsabinet_core.inference.network import Network
    from lsabinet_core.models.weights import load_weights

    show_log()
    _check_options(args)
    check_output_files(args, "out", "json")
    model, metadata = load_weights(args.weights)
    size = None if args.size == DYNAMIC else args.size or metadata.input_size
    batch = 1 if args.to == "tensorrt" and args.batch is None else args.batch or None
    settings = ExportSettings(args.to, size, args.precision, batch, args.output)
    network = Network(model, metadata, size or metadata.input_size)
    calibration, verify = _frames_for(args, network)
    with _cleaned_up_at_sigterm():
        info = export(network, settings, args.out, calibration=calibration, verify=verify)
    facts = json.loads(info.to_json())
    fingerprint = facts.pop("weights")
    report = {"out": args.out and str(args.out), "weights": args.weights, "fingerprint": fingerprint, **facts}
    _print_report(args, info)
    if args.json:
        write_text(args.json, json.dumps(report, indent=1) + "\n")
    return 0


def _check_options(args: argparse.Namespace) -> None:
    """Raise LsabinetError for options that would have no effect."""
    int8 = args.precision == "int8"
    checks = ["verify_split"] if int8 else ["frames", "dataset", "root", "split"]
    for options, purpose, given in (
        (["verify_split", "calibration_frames", "keep_floating"], "--precision int8", int8),
        (checks, "--verify", args.verify),
        (["limit"], "--verify", args.verify or (int8 and args.frames)),
    ):
        useless = [option for option in options if getattr(args, option) is not None]
        if useless and not given:
            option = f"--{useless[0].replace('_', '-')}"
            raise LsabinetError(f"{option} requires {purpose}: add {purpose} or remove {option}")
    of_datasets = ("dataset", "root", "split", "verify_split")
    if args.frames and (useless := [name for name in of_datasets if getattr(args, name) is not None]):
        raise LsabinetError(
            f"--{useless[0].replace('_', '-')} has no effect together with --frames: remove one of them"
        )
    if int8 and args.verify_split == (args.split or INT8_SPLIT):
        raise LsabinetError(
            f"--verify-split {args.verify_split} is the calibration split: choose another split, or remove the option "
            f"to verify on every {HELD_OUT_EVERY}th frame, which is held out from calibration"
        )


@contextlib.contextmanager
def _cleaned_up_at_sigterm() -> Iterator[None]:
    """Exit on SIGTERM as on Ctrl-C, so that temporary files are removed."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _frames_for(args: argparse.Namespace, network: "Network") -> "tuple[Calibration | None, Verify | None]":
    """Return the arguments ``calibration`` and ``verify`` of ``export``."""
    if args.precision == "int8":
        return _from_drive(args, network) if args.frames else _for_int8(args, network)
    if not args.verify:
        return None, None
    from lsabinet_core.inference.export import check_parity, parity_by_defaults

    def verify(artefact: "Artefact") -> dict:
        sizes = _sizes_to_check(network.size) if artefact.info.size is None else [network.size]
        name, images = _frames_to_check(args, sizes)
        parity = check_parity(network, artefact, images)
        figures = {
            "frames": name,
            "count": parity.images,
            "max_logit_error": parity.max_error,
            "logit_range": parity.logit_range,
            "pixel_agreement": parity.agreement,
        }
        if (by_defaults := parity_by_defaults(network, artefact, _frames_to_check(args, sizes)[1])) is not None:
            precision, parity = by_defaults
            figures["engine_defaults"] = {"precision": precision, "pixel_agreement": parity.agreement}
        return figures

    return None, verify


def _sizes_to_check(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the trained size and two odd sizes of other aspect ratios, to verify an export for any size."""
    height, width = size
    return [size, (height * 3 // 4 | 1, width * 5 // 6 | 1), (height * 7 // 6 | 1, width * 9 // 8 | 1)]


def _frames_to_check(args: argparse.Namespace, sizes: list[tuple[int, int]]) -> "tuple[str, Iterator[np.ndarray]]":
    """Return the name of the source and an iterator over its frames, which cycle through ``sizes``."""
    from itertools import chain, cycle, islice

    from lsabinet_core.data import open_dataset
    from lsabinet_core.inference.preprocess import stack_frames
    from lsabinet_core.inference.sources import open_source

    limit = args.limit or VERIFIED_FRAMES
    if args.frames:
        frames = iter(open_source(args.frames))
        if (first := next(frames, None)) is None:
            raise FrameError(f"expected {args.frames} to contain at least one readable frame, got none")
        some = islice(chain([first], frames), limit)
        return args.frames, (stack_frames([frame], size)[0] for (_, frame), size in zip(some, cycle(sizes)))
    dataset = open_dataset(args.dataset or "synthetic", args.root, args.split or "val")
    indices = _spread(range(len(dataset)), limit)
    images = (stack_frames([dataset.sample(index).image], size)[0] for index, size in zip(indices, cycle(sizes)))
    return f"{dataset.name} {dataset.split}", images


def _for_int8(args: argparse.Namespace, network: "Network") -> "tuple[Calibration, Verify | None]":
    from lsabinet_core.cli.calibration_frames import ResizedImages, SomeSamples
    from lsabinet_core.data import open_dataset
    from lsabinet_core.evaluation.evaluate import check_label_sets
    from lsabinet_core.inference.convert.quantize import KEEP_FLOATING
    from lsabinet_core.inference.export import Calibration

    if args.dataset is None:
        raise BackendError(
            "int8 needs frames for calibration: add --frames DRIVE (a folder of images, a video or a bag), or "
            "--dataset D --root DIR"
        )
    dataset = open_dataset(args.dataset, args.root, args.split or INT8_SPLIT)
    check_label_sets(network.metadata.label_set, dataset.label_set)
    if args.verify_split:
        measured = open_dataset(args.dataset, args.root, args.verify_split)
        rest, held_out = range(len(dataset)), range(len(measured))
    else:
        measured = dataset
        rest = [index for index in range(len(dataset)) if index % HELD_OUT_EVERY]
        held_out = range(0, len(dataset), HELD_OUT_EVERY)
    if not rest:
        raise LsabinetError(f"expected at least 2 labelled frames for calibration and verification, got {len(dataset)}")
    count = min(args.calibration_frames or CALIBRATION_FRAMES, len(rest))
    chosen = _spread(rest, count)
    calibration = Calibration(
        f"{dataset.name} {dataset.split}, {count} of {len(dataset)} frames",
        ResizedImages(dataset, chosen, network.size),
        count,
        tuple(args.keep_floating) if args.keep_floating else KEEP_FLOATING,
    )
    if not args.verify:
        return calibration, None
    samples = SomeSamples(measured, _spread(held_out, args.limit or len(held_out)))
    return calibration, lambda artefact: _check_miou(network, artefact, samples)


def _from_drive(args: argparse.Namespace, network: "Network") -> tuple["Calibration", "Verify"]:
    """Like ``_for_int8``, with frames without labels."""
    from lsabinet_core.cli.calibration_frames import spread_frames
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.inference.convert.quantize import KEEP_FLOATING
    from lsabinet_core.inference.export import Calibration
    from lsabinet_core.inference.sources import CameraSource, open_source

    most = args.calibration_frames or CALIBRATION_FRAMES
    # Every HELD_OUT_EVERYth frame is for verification; an even number, as spread_frames takes it.
    most += -(-most // (HELD_OUT_EVERY - 1))
    source = open_source(args.frames)
    if isinstance(source, CameraSource):
        raise FrameError(
            f"a camera's frames never end: expected a folder of images, a video or a bag, got {args.frames}"
        )
    if source.count is not None:
        # spread_frames reserves room for all of them.
        most = min(most, source.count)
    with contextlib.closing(source), Progress("reading", source.count) as progress:
        frames, count = spread_frames(source, network.size, most + most % 2, progress.update)
    held_out, rest = frames[::HELD_OUT_EVERY], [frame for index, frame in enumerate(frames) if index % HELD_OUT_EVERY]
    if not rest:
        raise FrameError(
            f"expected at least 2 readable frames in {args.frames} for calibration and verification, got {count}"
        )
    name = f"{args.frames}, {len(rest)} of {count} frames"
    calibration = Calibration(name, rest, len(rest), tuple(args.keep_floating) if args.keep_floating else KEEP_FLOATING)
    held_out = held_out[_spread(range(len(held_out)), args.limit or len(held_out))]
    return calibration, lambda artefact: _check_masks(network, artefact, args.frames, held_out)


def _check_masks(network: "Network", artefact: "Artefact", name: str, images: "np.ndarray") -> dict:
    """Compare the masks of the exported model with those of PyTorch fp32 on frames not used for calibration."""
    from lsabinet_core.cli.calibration_frames import SamplesFromMasks
    from lsabinet_core.cli.network_masks import NetworkMasks
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.evaluation.evaluate import evaluate
    from lsabinet_core.inference.backends import create_backend

    def masks_by(infer: "Infer") -> NetworkMasks:
        return NetworkMasks(infer, network.size, network.metadata.label_set, artefact.info.output)

    def compare(name: str, infer: "Infer") -> dict[str, float]:
        with Progress(f"comparing {name}", len(samples)) as progress:
            report = evaluate(masks_by(infer), samples, progress=progress.update)
        return {"pixel_agreement": report.confusion.pixel_accuracy, "miou": report.miou}

    with contextlib.closing(create_backend("torch", device="cpu", precision="fp32")) as engine:
        engine.load(network)
        masks = [result.mask for image in images for result in masks_by(engine.infer).segment([image])]
    samples = SamplesFromMasks(name, list(images), masks, network.metadata.label_set)
    with contextlib.closing(create_backend(artefact.format, device="cpu")) as engine:
        engine.load(artefact)
        found = compare("int8", engine.infer)
    if not all(found[key] >= least for key, least in MIN_MASK_AGREEMENT.items()):
        least = MIN_MASK_AGREEMENT
        raise BackendError(
            f"int8 differs from fp32 on {len(images)} held-out frames of {name}: "
            f"{100 * found['pixel_agreement']:.2f} % of the pixels have the same class (expected "
            f"{100 * least['pixel_agreement']:g} %), mIoU of the masks {100 * found['miou']:.2f} % (expected "
            f"{100 * least['miou']:g} %): use more frames, of other places and light, or keep more operators in "
            "floating point with --keep-floating. No file was written"
        )
    return {
        "frames": f"{name}, not used for calibration",
        "count": len(images),
        "pixel_agreement": found["pixel_agreement"],
        "mask_miou": found["miou"],
    }


def _spread(indices: Sequence[int], count: int) -> list[int]:
    """Return ``count`` evenly spaced indices, because neighbours in a data set are often neighbours in a video."""
    count = min(count, len(indices))
    return [indices[index * len(indices) // count] for index in range(count)]


def _check_miou(network: "Network", artefact: "Artefact", samples: "SomeSamples") -> dict:
    """Measure the mIoU of the exported model and of PyTorch fp32 on frames not used for calibration."""
    from lsabinet_core.cli.network_masks import NetworkMasks
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.evaluation.evaluate import evaluate
    from lsabinet_core.inference.backends import create_backend

    def miou(name: str, infer: "Infer") -> float:
        segmenter = NetworkMasks(infer, network.size, network.metadata.label_set, artefact.info.output)
        with Progress(f"measuring {name}", len(samples)) as progress:
            return evaluate(segmenter, samples, progress=progress.update).miou

    figures = {}
    for name, backend, source in (("fp32", "torch", network), ("int8", artefact.format, artefact)):
        with contextlib.closing(create_backend(backend, device="cpu")) as engine:
            engine.load(source)
            figures[name] = miou(name, engine.infer)
    loss = figures["fp32"] - figures["int8"]
    if not loss <= MAX_MIOU_LOSS:
        raise BackendError(
            f"int8 loses {100 * loss:.2f} points of mIoU (from {100 * figures['fp32']:.2f} to "
            f"{100 * figures['int8']:.2f}) on {len(samples)} held-out frames, expected at most "
            f"{100 * MAX_MIOU_LOSS:g}: keep more operators in floating point with --keep-floating. No file was written"
        )
    return {
        "frames": f"{samples.name} {samples.split}, not used for calibration",
        "count": len(samples),
        "miou_fp32": figures["fp32"],
        "miou_int8": figures["int8"],
    }


def _print_report(args: argparse.Namespace, info: "ExportInfo") -> None:
    batch = "any" if info.batch is None else info.batch
    where = args.out or "the engine cache"
    size = "any size" if info.size is None else f"{info.size[0]}x{info.size[1]}"
    print(f"{args.weights}: {args.to} {info.precision}, batch {batch}, {size} to {info.output}, in {where}")
    parity = info.parity
    if "pixel_agreement" in parity:
        error = ""
        if parity.get("max_logit_error") is not None:
            error = f"max logit error {parity['max_logit_error']:.3g} in a range of {parity['logit_range']:.3g}, "
        print(
            f"against PyTorch fp32 on {parity['count']} frames ({parity['frames']}): "
            f"{error}{100 * parity['pixel_agreement']:.4f} % of pixels have the same class"
            + (f", mIoU of the masks {100 * parity['mask_miou']:.2f} %" if "mask_miou" in parity else "")
        )
    elif "miou_int8" in parity:
        print(
            f"mIoU on {parity['count']} frames ({parity['frames']}): {100 * parity['miou_int8']:.2f} %, "
            f"PyTorch fp32 {100 * parity['miou_fp32']:.2f} %"
        )
    else:
        print("not verified against PyTorch: use --verify", file=sys.stderr)
    if (defaults := parity.get("engine_defaults")) is not None:
        print(
            f"with the default settings of {args.to}, which compute in {defaults['precision']} on this processor: "
            f"{100 * defaults['pixel_agreement']:.4f} % of pixels have the same class; other programs must set "
            "INFERENCE_PRECISION_HINT to f32"
        )
    if info.calibration:
        floating = info.calibration["floating_layers"]
        print(
            f"calibrated on {info.calibration['frames']}; operators that match these patterns stay in floating point:"
        )
        for pattern in info.calibration["keep"]:
            print(f"  {pattern}")
        print(f"they include {len(floating)} convolutions{':' if floating else ''}")
        for name in floating:
            print(f"  {name}")


def parse_size_or_dynamic(text: str) -> tuple[int, int] | str:
    """Parse ``"360x480"`` to (360, 480), or ``dynamic``; an argparse type."""
    return text if text == DYNAMIC else parse_size(text)


def parse_batch(text: str) -> int:
    """Parse an integer of 1 or more, or ``dynamic`` as 0; an argparse type."""
    return 0 if text == DYNAMIC else positive(text)
