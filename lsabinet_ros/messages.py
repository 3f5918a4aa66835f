"""Build ROS messages from arrays and figures; nothing here publishes or keeps state."""

import json
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import Image
from std_msgs.msg import Float64, Header, String

from lsabinet_core.labels import VOID
from lsabinet_ros.conversions import array_to_image
from lsabinet_ros.latency import LATENCY_STATUS, FrameLatency
from lsabinet_ros.published_labels import PublishedLabels

try:  # not part of the ROS variant ros_base
    from vision_msgs.msg import LabelInfo, VisionClass  # pyright: ignore[reportMissingImports] of ROS only
except ImportError:
    LabelInfo = VisionClass = None


def grey_message(values: np.ndarray, header: Header) -> Image:
    """Class ids or confidences, uint8 (H, W), as an Image with encoding mono8: viewers do not display 8UC1."""
    return array_to_image(values, "mono8", header)


def colour_message(pixels: np.ndarray, header: Header) -> Image:
    """BGR, uint8 (H, W, 3), as an Image with encoding rgb8."""
    return array_to_image(pixels[..., ::-1], "rgb8", header)


def latency_message(latency: FrameLatency, device: str, header: Header) -> DiagnosticArray:
    """The latency of one frame by stage: ``FrameLatency.stages`` in ms with three decimals, ``nan`` if unknown."""
    values = [KeyValue(key=stage, value=f"{ms:.3f}") for stage, ms in latency.stages().items()]
    status = DiagnosticStatus(
        level=DiagnosticStatus.OK, name=LATENCY_STATUS, message="ok", hardware_id=device, values=values
    )
    return DiagnosticArray(header=header, status=[status])


def class_share_message(mask: np.ndarray, labels: PublishedLabels, device: str, header: Header) -> DiagnosticArray:
    """The share of the pixels that each published class has in a mask of published ids, uint8 (H, W), 0 to 1 with six
    decimals; ``unlabelled`` is that of 255."""
    counts = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel()
    ids = {entry.name: entry.id for entry in labels.classes} | {"unlabelled": VOID}
    values = [KeyValue(key=name, value=f"{counts[id] / mask.size:.6f}") for name, id in ids.items()]
    status = DiagnosticStatus(
        level=DiagnosticStatus.OK, name="lsabinet: class share", message="ok", hardware_id=device, values=values
    )
    return DiagnosticArray(header=header, status=[status])


def float_message(value: float) -> Float64:
    return Float64(data=float(value))


def label_map_message(labels: PublishedLabels) -> String:
    """The published classes and colours as JSON::

    {"label_set": "camvid11", "void": 255, "classes": [{"id": 0, "name": "Sky", "color": [128, 128, 128]}, ...]}

    ``color`` is red, green, blue; ``void`` is the id of unlabelled pixels.
    """
    classes = [{"id": entry.id, "name": entry.name, "color": list(entry.color)} for entry in labels.classes]
    return String(data=json.dumps({"label_set": labels.name, "void": VOID, "classes": classes}))


def label_info_message(labels: PublishedLabels, header: Header) -> Any:
    """The published ids and names as vision_msgs/LabelInfo; requires that ``LabelInfo`` is not None."""
    assert LabelInfo is not None, "vision_msgs is installed"
    assert VisionClass is not None
    return LabelInfo(
        header=header,
        class_map=[VisionClass(class_id=entry.id, class_name=entry.name) for entry in labels.classes],
        threshold=0.0,
    )


def diagnostic_status(
    name: str, hardware_id: str, level: int, message: str, values: Mapping[str, object]
) -> DiagnosticStatus:
    """A DiagnosticStatus; the values are converted to strings."""
    return DiagnosticStatus(
        level=bytes([level]),
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
