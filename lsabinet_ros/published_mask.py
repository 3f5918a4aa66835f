"""The mask that is published for a segmentation, by the node and in offline checks of its masks."""

from typing import TYPE_CHECKING

import numpy as np

from lsabinet_core.labels import VOID
from lsabinet_ros.published_labels import PublishedLabels
from lsabinet_ros.view import View

if TYPE_CHECKING:
    from lsabinet_core.inference.segmenter import Segmentation


def visible_mask(
    result: "Segmentation", labels: PublishedLabels, view: View, min_confidence: float, size: tuple[int, int]
) -> np.ndarray:
    """The network's ids for the whole frame, uint8 (H, W), with 255 for pixels that are not published.

    Args:
        result: for what ``view.crop`` returned; its confidence may be None if ``min_confidence`` is 0.
        labels: the published classes, whose ``published`` turns the network's ids into theirs.
        view: the part of the frame that is segmented.
        min_confidence: the parameter, 0 to 1: less certain pixels become 255.
        size: (H, W) of the frame.
    """
    mask = result.mask
    if min_confidence > 0 and result.confidence is not None:
        mask = mask.copy()
        mask[result.confidence < round(255 * min_confidence)] = VOID
    return view.restore(labels.visible(mask), size, VOID)
