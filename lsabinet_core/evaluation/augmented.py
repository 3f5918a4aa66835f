"""Test-time augmentation: the mean prediction over several scales and horizontal flips.

It runs the network once per view, so it is meant for comparison with published results, not for use on a vehicle.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from lsabinet_core.errors import ModelError
from lsabinet_core.inference import Segmentation, Segmenter, Timings
from lsabinet_core.inference.preprocess import SIZE_MULTIPLE, check_frame
from lsabinet_core.inference.stage_timer import StageTimer
from lsabinet_core.labels import LabelSet
from lsabinet_core.models.limits import SMALLEST_INPUT


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return (H, W) times ``scale``, rounded to multiples of 8 and at least 64; exactly ``size`` at scale 1."""
    if scale == 1:
        return size
    height, width = (max(SMALLEST_INPUT, round(side * scale / SIZE_MULTIPLE) * SIZE_MULTIPLE) for side in size)
    return height, width


class AugmentedSegmenter:
    """A Segmenter that averages the softmax probabilities of several views at the frame's size.

    Args:
        segmenter: the Segmenter to run; the caller closes it.
        scales: factors of the network's input size, each above 0.
        flip: whether to run every scale on the horizontally flipped frame as well.

    Raises:
        ModelError: no scales, or a scale that is not a positive finite number.
    """

    def __init__(self, segmenter: Segmenter, *, scales: Sequence[float] = (1.0,), flip: bool = False):
        if not scales or not all(0 < scale < float("inf") for scale in scales):
            raise ModelError(f"expected scales above 0 such as 0.75,1,1.25, got {list(scales)}")
        self._segmenter = segmenter
        self.scales = tuple(float(scale) for scale in scales)
        self.flip = flip

    @property
    def label_set(self) -> LabelSet:
        return self._segmenter.label_set

    def network_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """Return the network's input size (H, W) at scale 1."""
        return self._segmenter.network_size(frame_size)

    def describe(self) -> dict:
        """Return the Segmenter's description with the key ``test_time_augmentation`` added."""
        settings = {"scales": list(self.scales), "flip": self.flip}
        return {**self._segmenter.describe(), "test_time_augmentation": settings}

    def warm_up(self, frame_size: tuple[int, int]) -> None:
        """Run every view of a blank frame once."""
        self.segment([np.zeros((*frame_size, 3), dtype=np.uint8)], confidence=False)

    def segment(self, frames: Sequence[np.ndarray], *, confidence: bool = True) -> list[Segmentation]:
        """Segment frames uint8 (H, W, 3), BGR, one by one. For results and errors, see ``Segmenter.segment``."""
        return [self._segment_one(frame, confidence) for frame in frames]

    @torch.inference_mode()
    def _segment_one(self, frame: np.ndarray, confidence: bool) -> Segmentation:
        check_frame(frame)
        size = frame.shape[:2]
        total, preprocess_ms, inference_ms, postprocess_ms = None, 0.0, 0.0, 0.0
        for scale in self.scales:
            for mirrored in (False, True) if self.flip else (False,):
                view = np.ascontiguousarray(frame[:, ::-1]) if mirrored else frame
                view_size = scaled_size(self.network_size(size), scale)
                logits, view_preprocess_ms, view_inference_ms = self._segmenter.logits([view], view_size)
                preprocess_ms += view_preprocess_ms
                inference_ms += view_inference_ms
                timer = StageTimer(logits.device)
                enlarged = F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
                probabilities = enlarged.softmax(dim=1)[0]
                if mirrored:
                    probabilities = probabilities.flip(-1)
                total = probabilities if total is None else total.add_(probabilities)
                timer.mark()
                postprocess_ms += sum(timer.milliseconds())
        assert total is not None, "there is at least one scale"
        timer = StageTimer(total.device)
        best, ids = total.max(dim=0)
        mask = ids.to(torch.uint8).cpu().numpy()
        certainty = None
        if confidence:
            views = len(self.scales) * (2 if self.flip else 1)
            certainty = (best * (255 / views)).round_().clamp_(max=255).to(torch.uint8).cpu().numpy()
        timer.mark()
        postprocess_ms += sum(timer.milliseconds())
        return Segmentation(mask, certainty, Timings(preprocess_ms, inference_ms, postprocess_ms))
