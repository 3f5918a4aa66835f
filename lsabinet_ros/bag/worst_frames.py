"""Keep pictures of the worst frames of an evaluation while it runs."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lsabinet_core.inference.overlay import colorize
from lsabinet_core.labels import VOID, LabelSet
from lsabinet_ros.bag.frame_results import FrameResult
from lsabinet_ros.bag.samples import BagSample

if TYPE_CHECKING:
    from lsabinet_core.inference import Segmentation, Segmenter

DEFAULT_COUNT = 6
MAX_WIDTH = 640
"""Maximum width of a picture in pixels: an hour's report stays small enough to be sent."""
JPEG_QUALITY = 80

CRITERIA: dict[str, tuple[str, Callable[[FrameResult], float | None]]] = {
    "miou": ("lowest mIoU", lambda frame: None if frame.miou is None else -frame.miou),
    "flicker": ("most flicker", lambda frame: frame.flicker),
    "consistency": (
        "lowest temporal consistency",
        lambda frame: None if frame.consistency is None else -frame.consistency,
    ),
    "confidence": ("lowest confidence", lambda frame: None if frame.confidence is None else -frame.confidence),
    "agreement": (
        "least agreement with the second network",
        lambda frame: None if frame.agreement is None or frame.agreement.pixels == 1 else -frame.agreement.pixels,
    ),
    "latency": ("longest latency", lambda frame: frame.timings.total_ms),
}
"""Criteria for the worst frames: description, and how bad a frame is, or None if that is unknown."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of a frame and its results.

    Attributes:
        frame: the result.
        jpegs: JPEG files by their content: ``frame``, ``overlay``, ``mask``; with a label, ``label`` and
            ``difference``; with a second segmenter, ``second mask`` and ``disagreement``.
    """

    frame: FrameResult
    jpegs: dict[str, bytes]


class WorstFrames:
    """The worst frames by each criterion.

    Args:
        segmenter: draws the overlays.
        count: number of frames for each criterion.
    """

    def __init__(self, segmenter: "Segmenter", count: int = DEFAULT_COUNT):
        self._segmenter, self._count = segmenter, count
        self._heaps: dict[str, list[tuple[float, int, Pictures]]] = {name: [] for name in CRITERIA}
        self._number = 0

    def add(
        self, sample: BagSample, result: "Segmentation", frame: FrameResult, second: "Segmentation | None" = None
    ) -> None:
        """Keep the frame if it is among the worst so far; ``second`` is its segmentation by the second segmenter."""
        self._number += 1
        pictures = None
        for name, (_, badness) in CRITERIA.items():
            bad, heap = badness(frame), self._heaps[name]
            # A frame that is as bad as others is kept only while there is room.
            if bad is None or (len(heap) == self._count and bad <= heap[0][0]):
                continue
            pictures = pictures or Pictures(frame, self._draw(sample, result, second))
            (heapq.heappush if len(heap) < self._count else heapq.heapreplace)(heap, (bad, -self._number, pictures))

    def by_criterion(self) -> dict[str, list[Pictures]]:
        """The worst frames by each criterion that was measured, the worst first."""
        return {
            name: [pictures for *_, pictures in sorted(heap, key=lambda entry: entry[:2], reverse=True)]
            for name, heap in self._heaps.items()
            if heap
        }

    def _draw(self, sample: BagSample, result: "Segmentation", second: "Segmentation | None") -> dict[str, bytes]:
        shown = {
            "frame": sample.image,
            "overlay": self._segmenter.overlay(sample.image, result.mask),
            "mask": colorize(result.mask, self._segmenter.label_set),
        }
        if sample.label is not None:
            shown["label"] = colorize(sample.label, self._segmenter.label_set)
            shown["difference"] = draw_difference(sample.image, result.mask, sample.label)
        if second is not None:
            shown["second mask"] = colorize(second.mask, self._segmenter.label_set)
            shown["disagreement"] = draw_difference(sample.image, result.mask, second.mask)
        return {what: _jpeg(image) for what, image in shown.items()}


def draw_difference(image: np.ndarray, mask: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The image in grey, with wrong pixels in red and unlabelled ones in black, BGR uint8 (H, W, 3)."""
    shown = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    shown[(mask != label) & (label != VOID)] = (40, 40, 230)
    shown[label == VOID] = 0
    return shown


def legend(label_set: LabelSet) -> list[tuple[str, str]]:
    """Name and colour (``#rrggbb``) of every class."""
    return [(name, "#{:02x}{:02x}{:02x}".format(*color)) for name, color in zip(label_set.names, label_set.colors)]


def _jpeg(image: np.ndarray) -> bytes:
    height, width = image.shape[:2]
    if width > MAX_WIDTH:
        size = (MAX_WIDTH, max(1, round(height * MAX_WIDTH / width)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
