"""The masks that a node with given parameters publishes, computed without the node."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lsabinet_core.inference import Segmenter
from lsabinet_ros.conversions import DecodeOptions, decode_compressed, decode_image
from lsabinet_ros.published_labels import PublishedLabels
from lsabinet_ros.published_mask import visible_mask
from lsabinet_ros.view import View

PARAMETERS = (
    *("device", "input_height", "input_width", "label_remap", "region_of_interest", "body_mask", "min_confidence"),
    *("significant_bits", "max_pixels", "rectify"),
)
"""The parameters of the node on which its masks depend, besides weights, engine and precision."""


def input_size(parameters: Mapping[str, Any]) -> tuple[int, int] | None:
    """Size of the network's input that these parameters set; None if it follows from the frames'."""
    size = parameters["input_height"], parameters["input_width"]
    return size if size[0] else None


class OfflineMasks:
    """Segments messages like a node.

    Args:
        segmenter: has the weights, engine, precision and input size of the node.
        parameters: the node's values of ``PARAMETERS``. ``rectify`` is not supported, because its calibration comes
            from the graph.
    """

    def __init__(self, segmenter: Segmenter, parameters: Mapping[str, Any]):
        self._segmenter = segmenter
        self._labels = PublishedLabels(segmenter.label_set, parameters["label_remap"])
        self._view = View(parameters["region_of_interest"], parameters["body_mask"])
        self._min_confidence = parameters["min_confidence"]
        self._options = DecodeOptions(parameters["significant_bits"], parameters["max_pixels"])

    def __call__(self, message: Any, *, compressed: bool) -> np.ndarray:
        """The published mask, uint8 (H, W), of a sensor_msgs/Image or, with ``compressed``, CompressedImage.

        Raises:
            FrameError: the node rejects the message.
        """
        frame = (decode_compressed if compressed else decode_image)(message, self._options).pixels
        result = self._segmenter.segment(self._view.crop(frame), confidence=self._min_confidence > 0)
        size = frame.shape[0], frame.shape[1]
        return self._labels.published(visible_mask(result, self._labels, self._view, self._min_confidence, size))
