"""What ``evaluate`` needs of an export: its own answers, also where it gives masks, which a Segmenter does not take."""

from collections.abc import Sequence

import cv2
import numpy as np

from lsabinet_core.inference import Segmentation, Timings
from lsabinet_core.inference.parity import Infer
from lsabinet_core.inference.postprocess import masks_from_logits
from lsabinet_core.inference.preprocess import stack_frames
from lsabinet_core.labels import LabelSet


class NetworkMasks:
    """Masks at the frames' size by a function that runs the network; nothing is timed.

    Logits are enlarged as a Segmenter does it. ``mask`` stands for a program that takes an export with masks: they are
    made at the network's size and enlarged by their nearest pixels, those of a reference with logits likewise.

    Args:
        infer: uint8 (1, H, W, 3), BGR, to logits (1, C, h, w) or class ids, uint8 (1, H, W).
        size: (H, W) of the network's input.
        label_set: its classes.
        output: ``logits`` or ``mask``: what the export gives.
    """

    def __init__(self, infer: Infer, size: tuple[int, int], label_set: LabelSet, output: str):
        self.label_set = label_set
        self._infer, self._size, self._output = infer, size, output

    def network_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        return self._size

    def describe(self) -> dict:
        return {}

    def segment(self, frames: Sequence[np.ndarray], *, confidence: bool = False) -> list[Segmentation]:
        return [Segmentation(self._mask(frame), None, Timings(0.0, 0.0, 0.0)) for frame in frames]

    def _mask(self, frame: np.ndarray) -> np.ndarray:
        found = self._infer(stack_frames([frame], self._size))
        size = self._size if self._output == "mask" else frame.shape[:2]
        mask = found[0].numpy() if found.ndim == 3 else masks_from_logits(found, size, confidence=False)[0][0]
        return cv2.resize(mask, frame.shape[1::-1], interpolation=cv2.INTER_NEAREST)
