"""Options that every verb with a Segmenter shares."""

import argparse

from lsabinet_core.inference.backends import DEFAULT_BACKEND

DEFAULT_WEIGHTS = "lsabinet_camvid"


def add_segmenter_arguments(parser: argparse.ArgumentParser, default_weights: str | None = DEFAULT_WEIGHTS) -> None:
    """Add the options that ``open_segmenter`` reads; without ``default_weights``, ``--weights`` must be given."""
    group = parser.add_argument_group("network")
    group.add_argument(
        "--weights",
        metavar="W",
        default=default_weights,
        required=default_weights is None,
        help="weights file, exported network, or the name of shipped weights"
        + (f" ({default_weights})" if default_weights else ""),
    )
    group.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N (auto)")
    group.add_argument("--precision", default="auto", metavar="P", help="auto, fp32, fp16, bf16 or int8 (auto)")
    group.add_argument(
        "--backend",
        default=DEFAULT_BACKEND,
        metavar="B",
        help=f"inference engine: torch, openvino, ... or auto, the fastest on this machine ({DEFAULT_BACKEND})",
    )
    group.add_argument(
        "--input-size",
        type=parse_size,
        metavar="HxW",
        help="size at which frames go through the network (the trained pixel count, at the frame's aspect ratio)",
    )
    group.add_argument("--threads", type=count, default=0, metavar="N", help="most CPU threads to use; 0: all (0)")


def open_segmenter(args: argparse.Namespace):
    """The Segmenter that the options ask for. Raises WeightsError, BackendError or ModelError."""
    from lsabinet_core.cli.logs import show_log
    from lsabinet_core.inference import Segmenter

    show_log()
    return Segmenter.from_pretrained(
        args.weights,
        device=args.device,
        precision=args.precision,
        backend=args.backend,
        input_size=args.input_size,
        threads=args.threads,
    )


def parse_size(text: str) -> tuple[int, int]:
    """``"360x480"`` to (360, 480): height first. An argparse type."""
    height, separator, width = text.lower().partition("x")
    if not (separator and height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH in pixels, such as 360x480, got {text!r}")
    return int(height), int(width)


def names(text: str) -> list[str]:
    """``"a,b"`` to ["a", "b"], each once. An argparse type."""
    found = list(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
    if not found:
        raise argparse.ArgumentTypeError(f"expected names separated by commas, got {text!r}")
    return found


def sizes(text: str) -> list[tuple[int, int]]:
    """``"360x480,512x1024"`` to sizes. An argparse type."""
    return [parse_size(part) for part in names(text)]


def count(text: str) -> int:
    """A whole number of 0 and more. An argparse type."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, got {text!r}")
    return int(text)


def positive(text: str) -> int:
    """A whole number of 1 and more. An argparse type."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text!r}")
    return int(text)
