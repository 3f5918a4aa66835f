"""Options shared by all verbs that run a Segmenter, and argparse types."""

import argparse
from typing import TYPE_CHECKING

from lsabinet_core.inference.backends import DEFAULT_BACKEND

if TYPE_CHECKING:
    from lsabinet_core.inference import Segmenter

DEFAULT_WEIGHTS = "lsabinet_camvid"
DEFAULT_TOLERANCE_PX = 3
"""A copy of the value in lsabinet_core.evaluation.boundaries, which is imported only when a verb runs."""

LONGEST_SIDE = 65535
"""Pixels of an image's side; the libraries for images support no more."""
LARGEST_NUMBER = 2**31 - 1
"""Larger numbers overflow in the libraries to which they are passed."""


def add_segmenter_arguments(
    parser: argparse.ArgumentParser, default_weights: str | None = DEFAULT_WEIGHTS, default_precision: str = "auto"
) -> None:
    """Add the options for ``open_segmenter``. ``--weights`` is required if ``default_weights`` is None; exported models
    keep their own precision, whatever ``default_precision`` is."""
    group = parser.add_argument_group("network")
    group.add_argument(
        "--weights",
        metavar="W",
        default=default_weights,
        required=default_weights is None,
        help="weights file, exported model or name of shipped weights"
        + (f" (default: {default_weights})" if default_weights else ""),
    )
    group.add_argument(
        "--precision",
        metavar="P",
        help=f"auto, fp32, fp16, bf16 or int8 (default: {default_precision}; an exported model's own)",
    )
    parser.set_defaults(default_precision=default_precision)
    group.add_argument(
        "--backend",
        default=DEFAULT_BACKEND,
        metavar="B",
        help=f"inference engine: torch, openvino, ..., or auto for the fastest on this machine "
        f"(default: {DEFAULT_BACKEND})",
    )
    group.add_argument(
        "--input-size",
        type=parse_size,
        metavar="HxW",
        help="input size of the network (default: the trained pixel count at the frame's aspect ratio)",
    )
    add_device_arguments(group)


def add_device_arguments(parser: argparse._ActionsContainer) -> None:
    """Add ``--device`` and ``--threads``: where the networks run."""
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N (default: auto)")
    add_threads_argument(parser)


def add_threads_argument(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--threads", type=count, default=0, metavar="N", help="maximum number of CPU threads (default: all cores)"
    )


def add_metric_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for the metrics that ``evaluate`` does not compute by default."""
    group = parser.add_argument_group("additional metrics")
    group.add_argument(
        "--boundary",
        type=count,
        nargs="?",
        const=DEFAULT_TOLERANCE_PX,
        metavar="PX",
        help=f"compute the boundary F-score with a tolerance of PX pixels (if PX is omitted: {DEFAULT_TOLERANCE_PX})",
    )
    group.add_argument(
        "--calibration", action="store_true", help="compute confidences and the expected calibration error"
    )


def open_segmenter(args: argparse.Namespace) -> "Segmenter":
    """Create the Segmenter for the options. Raise WeightsError, BackendError or ModelError if that is impossible."""
    from lsabinet_core.cli.logs import show_log
    from lsabinet_core.inference import Segmenter
    from lsabinet_core.inference.artefact import is_artefact

    show_log()
    return Segmenter.from_pretrained(
        args.weights,
        device=args.device,
        precision=args.precision or ("auto" if is_artefact(args.weights) else args.default_precision),
        backend=args.backend,
        input_size=args.input_size,
        threads=args.threads,
    )


def parse_size(text: str) -> tuple[int, int]:
    """Parse ``"360x480"`` (height first) to (360, 480); an argparse type."""
    height, separator, width = text.lower().partition("x")
    if not (separator and height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH in pixels, such as 360x480, got {text!r}")
    if max(int(height), int(width)) > LONGEST_SIDE:
        raise argparse.ArgumentTypeError(f"expected at most {LONGEST_SIDE} pixels per side, got {text!r}")
    return int(height), int(width)


def names(text: str) -> list[str]:
    """Parse ``"a,b"`` to ["a", "b"] without duplicates; an argparse type."""
    found = list(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
    if not found:
        raise argparse.ArgumentTypeError(f"expected names separated by commas, got {text!r}")
    return found


def sizes(text: str) -> list[tuple[int, int]]:
    """Parse ``"360x480,512x1024"`` to a list of sizes (height, width); an argparse type."""
    return [parse_size(part) for part in names(text)]


def count(text: str) -> int:
    """Parse an integer of 0 or more; an argparse type."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, got {text!r}")
    return _bounded(text)


def positive(text: str) -> int:
    """Parse an integer of 1 or more; an argparse type."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text!r}")
    return _bounded(text)


def _bounded(text: str) -> int:
    if int(text) > LARGEST_NUMBER:
        raise argparse.ArgumentTypeError(f"expected a whole number of at most {LARGEST_NUMBER}, got {text!r}")
    return int(text)
