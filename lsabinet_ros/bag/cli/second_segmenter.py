"""The option ``--against``: a second configuration, given by what differs from the first."""

import argparse

from lsabinet_core.cli.segmenter_options import parse_size
from lsabinet_core.errors import BagError

SETTINGS = {"backend": str, "precision": str, "device": str, "input-size": parse_size}


def add_against_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--against",
        nargs="+",
        metavar="SETTING",
        help="segment every frame with a second network or engine as well, and compare the masks. SETTINGs are the "
        "differences from the first: weights (a file or a name), backend=B, precision=P, device=D, input-size=HxW",
    )


def second_options(args: argparse.Namespace) -> argparse.Namespace:
    """The options for ``open_segmenter`` of the second segmenter: those of the first, changed by ``--against``.

    Raises:
        BagError: a setting that is unknown, invalid or given twice.
    """
    changed = {}
    for setting in args.against:
        name, value = _parse(setting)
        if name in changed:
            raise BagError(f"--against: {name.replace('_', '-')} is given twice: {' '.join(args.against)}")
        changed[name] = value
    return argparse.Namespace(**{**vars(args), **changed})


def _parse(setting: str) -> tuple[str, object]:
    name, separator, value = setting.partition("=")
    if name not in SETTINGS or not separator:
        if separator and name.isidentifier():
            known = ", ".join(f"{setting}=..." for setting in SETTINGS)
            raise BagError(f"--against: expected weights, {known}; got {setting!r}")
        return "weights", setting
    try:
        return name.replace("-", "_"), SETTINGS[name](value)
    except argparse.ArgumentTypeError as error:
        raise BagError(f"--against {name}: {error}") from None
