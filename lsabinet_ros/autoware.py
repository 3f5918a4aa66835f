"""Masks in the form that Autoware's node segmentation_pointcloud_fusion reads.

According to the source of autoware_image_projection_based_fusion and perception_utils (Apache-2.0), the data of the
Image contain runs of equal pixels in row order, 5 bytes each: the id, uint8, and the length, int32 in the byte order of
the machine. ``height`` and ``width`` are those of the mask. Points on pixels whose id is not in ``LABELS`` are never
removed.
"""

import array

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

LABELS = (
    *("UNKNOWN", "BUILDING", "WALL", "OBSTACLE", "TRAFFIC_LIGHT", "TRAFFIC_SIGN", "PERSON", "VEHICLE"),
    *("BIKE", "ROAD", "SIDEWALK", "ROAD_PAINT", "CURBSTONE", "CROSSWALK", "VEGETATION", "SKY"),
)
"""Names of the ids 0 to 15."""

_RUN = np.dtype([("id", np.uint8), ("length", np.int32)])


def run_length_message(mask: np.ndarray, header: Header) -> Image:
    """Encode a mask, uint8 (H, W), of published ids."""
    pixels = mask.reshape(-1)
    starts = np.concatenate(([0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1))
    runs = np.empty(len(starts), _RUN)
    runs["id"] = pixels[starts]
    runs["length"] = np.diff(starts, append=len(pixels))
    data = array.array("B")
    data.frombytes(runs.tobytes())
    height, width = mask.shape
    return Image(header=header, height=height, width=width, encoding="mono8", step=width, data=data)
