"""Messages to write to bags, built with the rosbags library, which needs no ROS."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from lsabinet_ros.bag.calibration import Calibration
from lsabinet_ros.bag.storage import COMPRESSED_IMAGE, IMAGE
from lsabinet_ros.latency import LATENCY_STATUS

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
SECOND_NS = 1_000_000_000


class MessageBuilder:
    """Builds and serialises messages of ROS 2's own types."""

    def __init__(self):
        self.store = get_typestore(Stores.ROS2_JAZZY)
        self._types = self.store.types

    def serialize(self, message: Any, type_name: str) -> bytes:
        """The message as CDR."""
        return bytes(self.store.serialize_cdr(message, type_name))

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        stamp = self._types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, SECOND_NS))
        return self._types["std_msgs/msg/Header"](stamp, frame_id)

    def image(self, header: Any, array: np.ndarray, encoding: str) -> Any:
        """sensor_msgs/Image of an array, uint8 (H, W) or (H, W, channels)."""
        height, width = array.shape[:2]
        data = np.ascontiguousarray(array).reshape(-1)
        return self._types[IMAGE](header, height, width, encoding, 0, data.size // height, data)

    def compressed_image(self, header: Any, data: np.ndarray, form: str) -> Any:
        """sensor_msgs/CompressedImage of a file's content, uint8 (N,); ``form`` as image_transport writes it."""
        return self._types[COMPRESSED_IMAGE](header, form, data.reshape(-1))

    def camera_info(self, header: Any, calibration: Calibration) -> Any:
        """sensor_msgs/CameraInfo of a camera whose images are neither binned nor cropped."""
        matrices = (calibration.camera_matrix, calibration.rectification_matrix, calibration.projection_matrix)
        return self._types[CAMERA_INFO](
            header,
            *calibration.size,
            calibration.distortion_model,
            *(np.array(values, np.float64) for values in (calibration.distortion, *matrices)),
            binning_x=0,
            binning_y=0,
            roi=self._types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
        )

    def latency(self, header: Any, stages_ms: Mapping[str, float], device: str) -> Any:
        """The latency of one frame by stage, like the record that the node publishes."""
        pair = self._types["diagnostic_msgs/msg/KeyValue"]
        values: Any = [pair(stage, f"{ms:.3f}") for stage, ms in stages_ms.items()]
        status: Any = self._types["diagnostic_msgs/msg/DiagnosticStatus"](0, LATENCY_STATUS, "ok", device, values)
        return self._types[DIAGNOSTICS](header, [status])
