"""``lsabinet export``: weights as ONNX, OpenVINO, TorchScript or TensorRT."""

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from lsabinet_core.cli.segmenter_options import DEFAULT_WEIGHTS, parse_size, positive
from lsabinet_core.errors import BackendError, FrameError, LsabinetError

HELP = "write weights as ONNX, OpenVINO, TorchScript or a TensorRT engine, and check them against PyTorch"

# As in lsabinet_core.inference.export, which is imported only when the verb runs.
FORMATS = ("onnx", "openvino", "torchscript", "tensorrt")
PRECISIONS = ("fp32", "fp16", "int8")
VERIFIED_FRAMES = 20
CALIBRATION_FRAMES = 300
HELD_OUT_EVERY = 4
"""Of the frames that int8 is given, every fourth is kept to measure what it lost."""
MOST_MIOU_LOSS = 0.005
INT8_SPLIT = "train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        metavar="W",
        default=DEFAULT_WEIGHTS,
        help=f"weights file, or the name of shipped weights ({DEFAULT_WEIGHTS})",
    )
    parser.add_argument("--to", required=True, choices=FORMATS, help="format")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="int8 for openvino only (fp32)")
    parser.add_argument("--size", type=parse_size, metavar="HxW", help="size of the input (the trained size)")
    parser.add_argument(
        "--batch", type=parse_batch, metavar="N", help="images at a time, or dynamic (dynamic; 1 for tensorrt)"
    )
    parser.add_argument(
        "--output",
        choices=("logits", "mask"),
        default="logits",
        help="what it gives: logits at low resolution, for this package; or, for other programs, class ids of the "
        "input's size (logits)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="F", help="file to write (without it, only this machine's engine cache is filled)"
    )
    frames = parser.add_argument_group("frames to check and, for int8, to calibrate on")
    frames.add_argument(
        "--verify", action="store_true", help="compare with PyTorch in fp32 first, and write nothing if it differs"
    )
    frames.add_argument("--frames", metavar="DIR", help="check on an image, a folder of images or a video")
    frames.add_argument(
        "--dataset", metavar="D", help="camvid, cityscapes, folder or synthetic (synthetic, to check on)"
    )
    frames.add_argument("--root", type=Path, metavar="DIR", help="the data set's folder")
    frames.add_argument("--split", metavar="S", help="of the data set (train for int8, else val)")
    frames.add_argument("--verify-split", metavar="S", help="int8: check on this split, not on what --split holds out")
    frames.add_argument("--limit", type=positive, metavar="N", help="check on at most N frames (20; int8: all)")
    frames.add_argument(
        "--calibration-frames", type=positive, metavar="N", help=f"for int8, at most ({CALIBRATION_FRAMES})"
    )
    frames.add_argument(
        "--keep-floating",
        action="append",
        metavar="REGEX",
        help="int8: operators that stay in floating point, by OpenVINO's names, in place of LSA-BiNet's own; may be "
        "repeated",
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write what was made, and how close it is, to this file")


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.logs import show_log
    from lsabinet_core.files import write_text
    from lsabinet_core.inference.export import ExportSettings, export
    from lsabinet_core.inference.network import Network
    from lsabinet_core.models.weights import load_weights

    show_log()
    _check_options(args)
    model, metadata = load_weights(args.weights)
    size = args.size or metadata.input_size
    batch = 1 if args.to == "tensorrt" and args.batch is None else args.batch or None
    settings = ExportSettings(args.to, size, args.precision, batch, args.output)
    network = Network(model, metadata, size)
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
    """Raise LsabinetError for an option that would do nothing."""
    int8 = args.precision == "int8"
    checks = ["limit", "verify_split"] if int8 else ["frames", "dataset", "root", "split", "limit"]
    for options, purpose, given in (
        (["verify_split", "calibration_frames", "keep_floating"], "--precision int8", int8),
        (checks, "--verify", args.verify),
    ):
        useless = [option for option in options if getattr(args, option) is not None]
        if useless and not given:
            raise LsabinetError(f"--{useless[0].replace('_', '-')} is for {purpose}: add that, or leave it out")
    if int8 and args.frames:
        raise LsabinetError("--frames is not for int8, which is checked on labels: give --dataset D --root DIR")
    if args.frames and (useless := [name for name in ("dataset", "root", "split") if getattr(args, name) is not None]):
        raise LsabinetError(f"--{useless[0]} is of no use beside --frames: give one or the other")
    if int8 and args.verify_split == (args.split or INT8_SPLIT):
        raise LsabinetError(
            f"--verify-split {args.verify_split} is what int8 is calibrated on: name another, or leave it out, and "
            "every fourth frame is held out to check on"
        )


@contextlib.contextmanager
def _cleaned_up_at_sigterm() -> Iterator[None]:
    """As at Ctrl-C, so that nothing half written stays behind."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _frames_for(args: argparse.Namespace, network):
    """What ``export`` takes as ``calibration`` and ``verify``."""
    if args.precision == "int8":
        return _for_int8(args, network)
    if not args.verify:
        return None, None
    from lsabinet_core.inference.export import check_parity

    def verify(artefact) -> dict:
        name, images = _frames_to_check(args, network.size)
        parity = check_parity(network, artefact, images)
        return {
            "frames": name,
            "count": parity.images,
            "max_logit_error": parity.max_error,
            "logit_range": parity.logit_range,
            "pixel_agreement": parity.agreement,
        }

    return None, verify


def _frames_to_check(args: argparse.Namespace, size: tuple[int, int]):
    """Where the frames are from, and an iterator of them at the network's size."""
    from itertools import chain, islice

    from lsabinet_core.data import open_dataset
    from lsabinet_core.inference.preprocess import stack_frames
    from lsabinet_core.inference.sources import open_source

    limit = args.limit or VERIFIED_FRAMES
    if args.frames:
        frames = iter(open_source(args.frames))
        if (first := next(frames, None)) is None:
            raise FrameError(f"expected {args.frames} to have a frame that can be read, got none")
        some = islice(chain([first], frames), limit)
        return args.frames, (stack_frames([frame], size)[0] for _, frame in some)
    dataset = open_dataset(args.dataset or "synthetic", args.root, args.split or "val")
    indices = _spread(range(len(dataset)), limit)
    images = (stack_frames([dataset.sample(index).image], size)[0] for index in indices)
    return f"{dataset.name} {dataset.split}", images


def _for_int8(args: argparse.Namespace, network):
    from lsabinet_core.cli.calibration_frames import ResizedImages, SomeSamples
    from lsabinet_core.data import open_dataset
    from lsabinet_core.evaluation.evaluate import check_label_sets
    from lsabinet_core.inference.convert.quantize import KEEP_FLOATING
    from lsabinet_core.inference.export import Calibration

    if args.dataset is None:
        raise BackendError("int8 needs labelled frames to calibrate and check on: give --dataset D --root DIR")
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
        raise LsabinetError(f"expected 2 labelled frames or more to calibrate and check on, got {len(dataset)}")
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


def _spread(indices, count: int) -> list[int]:
    """``count`` of them at equal distances, for neighbours in a data set are often neighbours in a video."""
    count = min(count, len(indices))
    return [indices[index * len(indices) // count] for index in range(count)]


def _check_miou(network, artefact, samples) -> dict:
    """mIoU of the export and of PyTorch in fp32 on frames that did not calibrate it."""
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.evaluation.evaluate import evaluate
    from lsabinet_core.inference import Segmenter

    figures = {}
    sources = {"fp32": (network.model, network.metadata, "torch"), "int8": (artefact, None, "auto")}
    for name, (model, metadata, backend) in sources.items():
        with Segmenter(model, metadata, device="cpu", backend=backend, input_size=network.size) as segmenter:
            with Progress(f"measuring {name}", len(samples)) as progress:
                figures[name] = evaluate(segmenter, samples, progress=progress.update).miou
    loss = figures["fp32"] - figures["int8"]
    if not loss <= MOST_MIOU_LOSS:
        raise BackendError(
            f"int8 loses {100 * loss:.2f} points of mIoU (from {100 * figures['fp32']:.2f} to "
            f"{100 * figures['int8']:.2f}) on {len(samples)} held-out frames, expected at most "
            f"{100 * MOST_MIOU_LOSS:g}: keep more operators in floating point with --keep-floating. Nothing was written"
        )
    return {
        "frames": f"{samples.name} {samples.split}, not calibrated on",
        "count": len(samples),
        "miou_fp32": figures["fp32"],
        "miou_int8": figures["int8"],
    }


def _print_report(args: argparse.Namespace, info) -> None:
    batch = "any number of" if info.batch is None else info.batch
    where = args.out or "the engine cache"
    size = f"{info.size[0]}x{info.size[1]}"
    print(f"{args.weights}: {args.to} {info.precision}, {batch} x {size} to {info.output}, in {where}")
    parity = info.parity
    if "pixel_agreement" in parity:
        error = ""
        if parity["max_logit_error"] is not None:
            error = f"max logit error {parity['max_logit_error']:.3g} in a range of {parity['logit_range']:.3g}, "
        print(
            f"against PyTorch fp32 on {parity['count']} frames ({parity['frames']}): "
            f"{error}{100 * parity['pixel_agreement']:.4f} % of pixels of the same class"
        )
    elif "miou_int8" in parity:
        print(
            f"mIoU on {parity['count']} frames ({parity['frames']}): {100 * parity['miou_int8']:.2f} %, "
            f"PyTorch fp32 {100 * parity['miou_fp32']:.2f} %"
        )
    else:
        print("not compared with PyTorch: --verify does that", file=sys.stderr)
    if info.calibration:
        floating = info.calibration["floating_layers"]
        print(f"calibrated on {info.calibration['frames']}; in floating point stay the operators that match")
        for pattern in info.calibration["keep"]:
            print(f"  {pattern}")
        print(f"among them {len(floating)} convolutions{':' if floating else ''}")
        for name in floating:
            print(f"  {name}")


def parse_batch(text: str) -> int:
    """A whole number of 1 and more; 0 for ``dynamic``. An argparse type."""
    return 0 if text == "dynamic" else positive(text)
