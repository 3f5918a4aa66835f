"""Small bags with known content, and the command line without an installed entry point."""

import argparse
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

from lsabinet_core.data.sample import Sample
from lsabinet_core.labels import VOID
from lsabinet_ros.bag import cli
from lsabinet_ros.bag.writer import BagSettings, make_bag

SIZE = (96, 128)
START_NS = 1_700_000_000_123_456_789
RATE = Fraction(30000, 1001)

MAIN = """
import argparse, sys
from lsabinet_core.errors import LsabinetError
from lsabinet_ros.bag import cli
parser = argparse.ArgumentParser()
cli.add_arguments(parser)
args = parser.parse_args()
try:
    sys.exit(args.run(args))
except LsabinetError as error:
    sys.exit(f"lsabinet: error: {error}")
"""


def samples(count: int, labelled=lambda index: True, size=SIZE) -> list[Sample]:
    """Random images, with random labels that include void where ``labelled(index)``."""
    found = []
    for index in range(count):
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        label = rng.integers(0, 12, size, dtype=np.uint8)
        label[label == 11] = VOID
        found.append(Sample(image, label if labelled(index) else None, f"{index:03d}"))
    return found


def stamp_of(index: int) -> int:
    """The stamp of frame ``index`` at ``START_NS`` and ``RATE``, computed with integers only."""
    return START_NS + index * 1_000_000_000 * RATE.denominator // RATE.numerator


def write(path: Path, frames: list[Sample], rate: Fraction = RATE, overwrite: bool = False, **settings) -> Path:
    make_bag(frames, path, rate=rate, start_ns=START_NS, settings=BagSettings(**settings), overwrite=overwrite)
    return path


def run_cli(*argv) -> int:
    """Run ``lsabinet bag ARGV`` in this process; raises the LsabinetError that the command would print."""
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    args = parser.parse_args([str(item) for item in argv])
    return args.run(args) or 0


def start_cli(*argv, **options) -> subprocess.Popen:
    """Start ``lsabinet bag ARGV`` as a separate process."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, argv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
