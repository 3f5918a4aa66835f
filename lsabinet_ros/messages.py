"""Arrays and figures to ROS messages; nothing here publishes or keeps state."""

import json
from collections.abc import Mapping

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Float64, Header, String

from lsabinet_core.labels import VOID, LabelSet
from lsabinet_ros.conversions import array_to_image
from lsabinet_ros.latency import FrameLatency

try:  # not part of ros-base
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:
    LabelInfo = None

LATENCY_STATUS = "lsabinet: latency"


def mask_message(mask: np.ndarray, header: Header):
    """Class ids, uint8 (H, W), as an Image of encoding mono8: viewers fail on 8UC1."""
    return array_to_image(mask, "mono8", header)


def confidence_message(confidence: np.ndarray, header: Header):
    """``round(255 * probability)``, uint8 (H, W), as an Image of encoding mono8."""
    return array_to_image(confidence, "mono8", header)


def overlay_message(overlay: np.ndarray, header: Header):
    """The frame under its mask's colours, BGR uint8 (H, W, 3), as an Image of encoding rgb8."""
    return array_to_image(overlay[..., ::-1], "rgb8", header)


def latency_message(latency: FrameLatency, device: str, header: Header) -> DiagnosticArray:
    """One frame's milliseconds by stage: the values of ``FrameLatency.stages``, three decimals, ``nan`` if unknown."""
    values = [KeyValue(key=stage, value=f"{ms:.3f}") for stage, ms in latency.stages().items()]
    status = DiagnosticStatus(
        level=DiagnosticStatus.OK, name=LATENCY_STATUS, message="ok", hardware_id=device, values=values
    )
    return DiagnosticArray(header=header, status=[status])


def float_message(value: float) -> Float64:
    return Float64(data=float(value))


def label_map_message(label_set: LabelSet) -> String:
    """Classes and colours as JSON::

    {"label_set": "camvid11", "void": 255, "classes": [{"id": 0, "name": "Sky", "color": [128, 128, 128]}, ...]}

    ``color`` is red, green, blue; ``void`` is the id of unlabelled pixels.
    """
    classes = [
        {"id": index, "name": name, "color": list(color)}
        for index, (name, color) in enumerate(zip(label_set.names, label_set.colors))
    ]
    return String(data=json.dumps({"label_set": label_set.name, "void": VOID, "classes": classes}))


def label_info_message(label_set: LabelSet, header: Header):
    """Class ids and names as vision_msgs/LabelInfo; only where ``LabelInfo`` is not None."""
    return LabelInfo(
        header=header,
        class_map=[VisionClass(class_id=index, class_name=name) for index, name in enumerate(label_set.names)],
        threshold=0.0,
    )


def diagnostic_status(
    name: str, hardware_id: str, level: int, message: str, values: Mapping[str, object]
) -> DiagnosticStatus:
    """A DiagnosticStatus; values are turned into strings."""
    return DiagnosticStatus(
        level=bytes([level]),
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )


def stamp_ns(header: Header) -> int:
    """The header's stamp in nanoseconds."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
