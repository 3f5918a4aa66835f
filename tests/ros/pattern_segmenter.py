"""A stand-in for the network: the class of a pixel is its blue value, and its confidence is its green value."""

import threading
import time

from lsabinet_core.inference.overlay import blend
from lsabinet_core.inference.segmenter import Segmentation, Timings
from lsabinet_core.labels import CAMVID
from lsabinet_core.models.weights import WeightsMetadata


class PatternSegmenter:
    """Has the methods of a Segmenter that the node calls.

    Args:
        seconds: how long each call takes.
    """

    label_set = CAMVID
    device = "cpu"
    preferred_batch = 1
    metadata = WeightsMetadata("pattern", CAMVID, (90, 120), (0.4,) * 3, (0.3,) * 3)

    def __init__(self, seconds: float = 0.0):
        self.seconds = seconds
        self.sizes: list[tuple[int, int]] = []
        self.warmed: list[tuple[int, int]] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def describe(self):
        return {"architecture": "pattern", "device": "cpu", "precision": "fp32", "backend": "none"}

    def network_size(self, size):
        return 64, 96

    def warm_up(self, size, *, frames, wait):
        self.warmed.append(size)

    def segment(self, frames, *, confidence):
        several = isinstance(frames, list)
        results = [self._segment(frame, confidence) for frame in (frames if several else [frames])]
        return results if several else results[0]

    def _segment(self, frame, confidence):
        self.go_on.wait()
        self.sizes.append(frame.shape[:2])
        time.sleep(self.seconds)
        return Segmentation(
            frame[..., 0].copy(), frame[..., 1].copy() if confidence else None, Timings(0.5, self.seconds * 1e3, 0.25)
        )

    def overlay(self, frame, mask, alpha, label_set=None):
        return blend(frame, mask, label_set or self.label_set, alpha)

    def close(self):
        pass
