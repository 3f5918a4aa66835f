"""sensor_msgs images to BGR frames, and arrays to images.

Our own conversion honours ``step`` and ``is_bigendian`` and refuses short data for every encoding in ``ENCODINGS``;
cv_bridge, where a ROS installation has it, takes the encodings that are not listed there.
"""

import array
import functools
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lsabinet_core.errors import FrameError

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image
    from std_msgs.msg import Header

MAX_SIDE = 32768
"""Wider or higher images are taken for corrupt messages: OpenCV's resize ends at the same order of size."""


@dataclass(frozen=True)
class Encoding:
    """How the pixels of an encoding lie in memory, and the way to BGR.

    Attributes:
        channels: values per pixel; for 4:2:0 formats those of the luminance plane, 1.
        to_bgr: uint8 (H, W) or (H, W, channels) to uint8 (H, W, 3); 16-bit values were scaled to 8 bits before.
        bits: per value, 8 or 16.
        even_width: pixels share colour in pairs along a row.
        planes_420: the image has H / 2 further rows of interleaved colour, and even H and W.
    """

    channels: int
    to_bgr: Callable[[np.ndarray], np.ndarray]
    bits: int = 8
    even_width: bool = False
    planes_420: bool = False


def _identity(pixels: np.ndarray) -> np.ndarray:
    return pixels


def _cvt(code: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: cv2.cvtColor(pixels, code)


# OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first four pixels.
_BAYER = {
    "bayer_rggb": cv2.COLOR_BayerBG2BGR,
    "bayer_bggr": cv2.COLOR_BayerRG2BGR,
    "bayer_gbrg": cv2.COLOR_BayerGR2BGR,
    "bayer_grbg": cv2.COLOR_BayerGB2BGR,
}

ENCODINGS: dict[str, Encoding] = {
    "bgr8": Encoding(3, _identity),
    "rgb8": Encoding(3, _cvt(cv2.COLOR_RGB2BGR)),
    "bgra8": Encoding(4, _cvt(cv2.COLOR_BGRA2BGR)),
    "rgba8": Encoding(4, _cvt(cv2.COLOR_RGBA2BGR)),
    "mono8": Encoding(1, _cvt(cv2.COLOR_GRAY2BGR)),
    "bgr16": Encoding(3, _identity, bits=16),
    "rgb16": Encoding(3, _cvt(cv2.COLOR_RGB2BGR), bits=16),
    "bgra16": Encoding(4, _cvt(cv2.COLOR_BGRA2BGR), bits=16),
    "rgba16": Encoding(4, _cvt(cv2.COLOR_RGBA2BGR), bits=16),
    "mono16": Encoding(1, _cvt(cv2.COLOR_GRAY2BGR), bits=16),
    # OpenCV type names say nothing about the order: OpenCV's own, BGR, is meant.
    "8UC1": Encoding(1, _cvt(cv2.COLOR_GRAY2BGR)),
    "8UC3": Encoding(3, _identity),
    "8UC4": Encoding(4, _cvt(cv2.COLOR_BGRA2BGR)),
    **{f"{name}8": Encoding(1, _cvt(code)) for name, code in _BAYER.items()},
    **{f"{name}16": Encoding(1, _cvt(code), bits=16) for name, code in _BAYER.items()},
    # yuv422 and yuv422_yuy2 are the older names of uyvy and yuyv.
    "uyvy": Encoding(2, _cvt(cv2.COLOR_YUV2BGR_UYVY), even_width=True),
    "yuv422": Encoding(2, _cvt(cv2.COLOR_YUV2BGR_UYVY), even_width=True),
    "yuyv": Encoding(2, _cvt(cv2.COLOR_YUV2BGR_YUYV), even_width=True),
    "yuv422_yuy2": Encoding(2, _cvt(cv2.COLOR_YUV2BGR_YUYV), even_width=True),
    "nv12": Encoding(1, _cvt(cv2.COLOR_YUV2BGR_NV12), planes_420=True),
    "nv21": Encoding(1, _cvt(cv2.COLOR_YUV2BGR_NV21), planes_420=True),
}


def image_to_array(message: "Image") -> np.ndarray:
    """The image as uint8 (H, W, 3), BGR, contiguous; zero-copy where the message is bgr8 without padding.

    16-bit values are scaled by 255/65535. Grey images get three equal channels.

    Raises:
        FrameError: no pixels, a ``step`` or data length that does not fit, or an encoding that nothing here knows.
    """
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        return _by_cv_bridge(message)
    pixels = _pixels(message, encoding)
    if encoding.bits == 16:
        pixels = cv2.convertScaleAbs(pixels, alpha=255 / 65535)
    try:
        return encoding.to_bgr(pixels)
    except cv2.error as error:
        raise FrameError(f"{_describe(message)} could not be converted to bgr8: {error.err}") from None


def _pixels(message: "Image", encoding: Encoding) -> np.ndarray:
    """The message's values, contiguous and of the machine's byte order: (rows, W) or (rows, W, channels)."""
    height, width, step = message.height, message.width, message.step
    if height == 0 or width == 0:
        raise FrameError(f"expected an image with at least one pixel, got {_describe(message)}")
    if max(height, width) > MAX_SIDE:
        raise FrameError(f"expected an image of at most {MAX_SIDE} pixels a side, got {_describe(message)}")
    if (encoding.even_width or encoding.planes_420) and width % 2:
        raise FrameError(f"expected an even width for {message.encoding}, got {_describe(message)}")
    if encoding.planes_420 and height % 2:
        raise FrameError(f"expected an even height for {message.encoding}, got {_describe(message)}")
    rows = height * 3 // 2 if encoding.planes_420 else height
    value_bytes = encoding.bits // 8
    pixel_bytes = encoding.channels * value_bytes
    row_bytes = width * pixel_bytes
    if step < row_bytes:
        raise FrameError(f"expected a step of at least {row_bytes} bytes, got {step} in {_describe(message)}")
    # The last row's padding may be missing: some drivers cut it.
    least, most = step * (rows - 1) + row_bytes, step * rows
    if not least <= len(message.data) <= most:
        raise FrameError(
            f"expected {most} bytes of data (step {step} x {rows} rows), "
            f"got {len(message.data)} in {_describe(message)}"
        )
    dtype = np.dtype(np.uint8 if value_bytes == 1 else ">u2" if message.is_bigendian else "<u2")
    shape, strides = (rows, width), (step, pixel_bytes)
    if encoding.channels > 1:
        shape, strides = (*shape, encoding.channels), (*strides, value_bytes)
    pixels = np.ndarray(shape, dtype, buffer=memoryview(message.data), strides=strides)
    return np.ascontiguousarray(pixels, dtype=dtype.newbyteorder("="))


def _by_cv_bridge(message: "Image") -> np.ndarray:
    expected = f"expected an encoding of {', '.join(ENCODINGS)}, got {message.encoding!r}"
    if importlib.util.find_spec("cv_bridge") is None:
        raise FrameError(f"{expected} (with cv_bridge installed, whatever it knows too)")
    if not cv_bridge_works():
        raise FrameError(
            f"{expected}; cv_bridge, which may know it, does not work here: one that was made for NumPy 1 needs "
            f"numpy<2, and here is {np.__version__}"
        )
    from cv_bridge import CvBridge

    try:
        frame = CvBridge().imgmsg_to_cv2(message, desired_encoding="bgr8")
    except Exception as error:  # cv_bridge raises its own, OpenCV's, numpy's and Python's errors
        raise FrameError(f"{expected}, which cv_bridge cannot convert either: {' '.join(str(error).split())}") from None
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
        raise FrameError(f"cv_bridge turned {_describe(message)} into {frame.dtype} {frame.shape}, not uint8 (H, W, 3)")
    return np.ascontiguousarray(frame)


@functools.cache
def cv_bridge_works() -> bool:
    """Whether cv_bridge is there and converts an image.

    Those of Humble and Jazzy were made for NumPy 1 and crash a process that has NumPy 2, so it is tried in another one.
    """
    attempt = (
        "from cv_bridge import CvBridge; from sensor_msgs.msg import Image; "
        "CvBridge().imgmsg_to_cv2(Image(height=1, width=1, encoding='rgb8', step=3, data=bytes(3)), 'bgr8')"
    )
    return subprocess.run([sys.executable, "-c", attempt], capture_output=True).returncode == 0


def compressed_to_array(message: "CompressedImage") -> np.ndarray:
    """The decoded JPEG, PNG, ... as uint8 (H, W, 3), BGR.

    Raises:
        FrameError: empty, truncated or foreign data, or depth ("compressedDepth").
    """
    name = f"a compressed image of format {message.format!r} and {len(message.data)} bytes"
    if "compressedDepth" in message.format:
        raise FrameError(f"expected a colour or grey image, got {name}: choose the camera's colour topic")
    if len(message.data) == 0:
        raise FrameError(f"expected compressed data, got {name}")
    try:
        frame = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise FrameError(f"{name} could not be decoded: {error.err}") from None
    if frame is None:
        raise FrameError(f"{name} could not be decoded: it is truncated, or neither JPEG, PNG nor what OpenCV reads")
    return frame


def array_to_image(pixels: np.ndarray, encoding: str, header: "Header") -> "Image":
    """A sensor_msgs/Image without padding.

    Args:
        pixels: uint8, (H, W) for ``mono8``, (H, W, 3) for ``bgr8`` and ``rgb8``.
        encoding: one of these three.
        header: taken as it is.
    """
    from sensor_msgs.msg import Image

    channels = {"mono8": 1, "bgr8": 3, "rgb8": 3}[encoding]
    expected = pixels.shape[:2] if channels == 1 else (*pixels.shape[:2], channels)
    if pixels.dtype != np.uint8 or pixels.shape != expected:
        raise ValueError(f"expected uint8 {expected} for {encoding}, got {pixels.dtype} {pixels.shape}")
    # rclpy takes an array.array as it is; a numpy array or a memoryview it would copy value by value.
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(pixels).data)
    height, width = pixels.shape[:2]
    return Image(header=header, height=height, width=width, encoding=encoding, step=width * channels, data=data)


def _describe(message: "Image") -> str:
    return f"a {message.width}x{message.height} {message.encoding} image"
