"""From the runs on CamVid to the weights file that ships."""

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path

from lsabinet_core.models.weights import load_weights, read_metadata, save_weights


def ship(final: Path, validated: Sequence[Path], out: Path) -> float:
    """Write the weights of a run on train + val, with the val mIoU of the runs on train alone in their metadata.

    The run that ships has learned from val, so that nothing is left to measure it on: the figure that stands for it is
    the mean of runs by the same recipe that have not. The metadata says so under ``training``, as ``val_miou_of``.

    Args:
        final: the weights file to ship.
        validated: weights files of the other runs, each with its ``val_miou``.
        out: where to write.

    Returns:
        The mean val mIoU, in 0..1.
    """
    model, metadata = load_weights(final)
    others = [read_metadata(path) for path in validated]
    miou = statistics.fmean(other.training["val_miou"] for other in others)
    count = "one run" if len(others) == 1 else f"the mean of {len(others)} runs"
    of = f"{count} by the same recipe on {others[0].dataset} alone"
    training = {**metadata.training, "val_miou": miou, "val_miou_of": of}
    save_weights(out, model, dataclasses.replace(metadata, training=training))
    return miou
