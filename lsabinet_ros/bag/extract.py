"""Write the frames and labels of a bag as image files."""

from collections.abc import Callable
from pathlib import Path

from lsabinet_core.images import write_image
from lsabinet_ros.bag.read_ahead import read_ahead
from lsabinet_ros.bag.samples import FrameSource

IMAGES, LABELS = "images", "labels"
"""Subfolders for the files."""


def extract(
    source: FrameSource, folder: Path, suffix: str = ".png", progress: Callable[[int, int], None] | None = None
) -> tuple[int, int]:
    """Write ``images/STAMP.png`` and, for labelled frames, ``labels/STAMP.png``; STAMP is the frame's, in ns.

    ``lsabinet bag evaluate --labels`` and ``lsabinet bag make --images --labels`` read these folders.

    Args:
        source: the frames.
        folder: folder to write to.
        suffix: ``.png`` or ``.jpg``, for the images; labels are always PNGs.
        progress: called with the number of written frames and of all frames.

    Returns:
        Number of frames and of labels written. Frames with the same stamp overwrite each other.

    Raises:
        BagError: there are labels, and none of them belongs to a frame.
        OSError: a file cannot be written.
    """
    source.match_labels()
    frames = labels = 0
    for sample in read_ahead(source):
        write_image(folder / IMAGES / f"{sample.stamp_ns}{suffix}", sample.image)
        frames += 1
        if sample.label is not None:
            write_image(folder / LABELS / f"{sample.stamp_ns}.png", sample.label)
            labels += 1
        if progress is not None:
            progress(frames, source.total)
    return frames, labels
