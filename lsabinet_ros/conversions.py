"""Convert sensor_msgs images to BGR arrays, and arrays to images.

Our own conversion honours ``step`` and ``is_bigendian`` and rejects truncated data for every encoding in ``ENCODINGS``.
cv_bridge, if a ROS installation has it, converts the encodings that are not listed there. The size of every image,
compressed or not, is checked before memory is allocated for its pixels.
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

from lsabinet_core.errors import FrameError, one_line
from lsabinet_core.images import DARK_16_BIT
from lsabinet_ros.encoded_images import inspect

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image
    from std_msgs.msg import Header

MAX_SIDE = 32768
"""Maximum width and height; a larger image counts as a corrupt message. OpenCV's resize has a similar limit."""
MAX_PIXELS = 1 << 25
"""Default of the maximum number of pixels, a little more than an image of 7680x4320."""
MAX_SCANS = 32
"""Maximum number of scans of a JPEG. Cameras write 1, progressive encoders about 10; each costs as much as an image."""


@dataclass(frozen=True)
class DecodeOptions:
    """How messages are decoded.

    Attributes:
        significant_bits: number of low bits that a sensor uses of each 16-bit value, 8 to 16. A value with all of
            these bits set becomes 255.
        max_pixels: images with more pixels are rejected before they are decoded.
    """

    significant_bits: int = 16
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True)
class Decoded:
    """A decoded message.

    Attributes:
        pixels: BGR, uint8 (H, W, 3), contiguous.
        nearly_black: whether a 16-bit image has no value above 1/16 of its range, as with fewer significant bits than
            assumed; always False for 8 bits.
    """

    pixels: np.ndarray
    nearly_black: bool = False


@dataclass(frozen=True)
class Chroma:
    """The colours that follow the luminance plane, in rows of their own.

    Attributes:
        rows: number of rows, as a multiple of the height of the image.
        width: length and step of a row, as a multiple of those of the luminance plane.
    """

    rows: float
    width: float


@dataclass(frozen=True)
class Encoding:
    """Memory layout of an encoding, and its conversion to BGR.

    Attributes:
        channels: values per pixel; 1 for planar formats (their luminance plane).
        to_bgr: converts uint8 (H, W) or (H, W, channels) to uint8 (H, W, 3); 16-bit values are scaled to 8 bits first.
            With ``chroma``, it gets W columns, the rows of luminance before all values of the colours.
        bits: bits per value, 8 or 16.
        even_width: neighbouring pixels of a row share their colour, so the width is even.
        even_height: neighbouring rows share their colour, so the height is even.
        chroma: the colour planes of a planar format.
    """

    channels: int
    to_bgr: Callable[[np.ndarray], np.ndarray]
    bits: int = 8
    even_width: bool = False
    even_height: bool = False
    chroma: Chroma | None = None


def _identity(pixels: np.ndarray) -> np.ndarray:
    return pixels


def _cvt(code: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: cv2.cvtColor(pixels, code)


def _420(code: int, chroma: Chroma) -> Encoding:
    return Encoding(1, _cvt(code), even_width=True, even_height=True, chroma=chroma)


def _nv24(planes: np.ndarray) -> np.ndarray:
    """Colours for every pixel, which OpenCV does not convert: ITU-R BT.601, luminance from 16 to 235."""
    height, width = planes.shape[0] // 3, planes.shape[1]
    blue, green, red = (2.017232, 0.0), (-0.391762, -0.812968), (0.0, 1.596027)
    matrix = np.array([[255 / 219, u, v, -16 * 255 / 219 - 128 * (u + v)] for u, v in (blue, green, red)], np.float32)
    yuv = cv2.merge([planes[:height], planes[height:].reshape(height, width, 2)])
    return cv2.transform(yuv, matrix)


# OpenCV names a Bayer pattern after the second and third pixel of the second row, ROS after the first four pixels.
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
    # OpenCV type names do not tell the channel order; it is BGR, as usual in OpenCV.
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
    "yvyu": Encoding(2, _cvt(cv2.COLOR_YUV2BGR_YVYU), even_width=True),
    "nv12": _420(cv2.COLOR_YUV2BGR_NV12, Chroma(rows=0.5, width=1)),
    "nv21": _420(cv2.COLOR_YUV2BGR_NV21, Chroma(rows=0.5, width=1)),
    "i420": _420(cv2.COLOR_YUV2BGR_I420, Chroma(rows=1, width=0.5)),
    "nv24": Encoding(1, _nv24, chroma=Chroma(rows=1, width=2)),
}


def image_to_array(message: "Image") -> np.ndarray:
    """The pixels that ``decode_image`` returns with the default options."""
    return decode_image(message).pixels


def decode_image(message: "Image", options: DecodeOptions = DecodeOptions()) -> Decoded:
    """The image as BGR; not copied if the message is bgr8 without padding. Grey images get three equal channels.

    Raises:
        FrameError: no pixels or too many, a ``step`` or data length that does not match, or an unknown encoding.
    """
    _check_size(message.height, message.width, options, lambda: _describe(message))
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        return Decoded(_by_cv_bridge(message))
    return _to_bgr(_pixels(message, encoding), encoding, options, lambda: _describe(message))


def _to_bgr(values: np.ndarray, encoding: Encoding, options: DecodeOptions, describe: Callable[[], str]) -> Decoded:
    """Convert values of 8 or 16 bits; of ``encoding``, only the arrangement is used, not the number of bits."""
    nearly_black = False
    if values.dtype == np.uint16:
        nearly_black = int(values.max()) <= DARK_16_BIT >> (16 - options.significant_bits)
        values = cv2.convertScaleAbs(values, alpha=255 / ((1 << options.significant_bits) - 1))
    try:
        return Decoded(encoding.to_bgr(values), nearly_black)
    except cv2.error as error:
        raise FrameError(f"{describe()} could not be converted to bgr8: {error.err}") from None


def _check_size(height: int, width: int, options: DecodeOptions, describe: Callable[[], str]) -> None:
    if height == 0 or width == 0:
        raise FrameError(f"expected an image with at least one pixel, got {describe()}")
    if max(height, width) > MAX_SIDE:
        raise FrameError(f"expected an image of at most {MAX_SIDE} pixels per side, got {describe()}")
    if height * width > options.max_pixels:
        raise FrameError(
            f"expected an image of at most {options.max_pixels} pixels, got {describe()}: if that is right, raise the "
            "parameter max_pixels"
        )


def _pixels(message: "Image", encoding: Encoding) -> np.ndarray:
    """The values of the message, contiguous and in native byte order: (rows, W) or (rows, W, channels)."""
    height, width, step = message.height, message.width, message.step
    if encoding.even_width and width % 2:
        raise FrameError(f"expected an even width for {message.encoding}, got {_describe(message)}")
    if encoding.even_height and height % 2:
        raise FrameError(f"expected an even height for {message.encoding}, got {_describe(message)}")
    value_bytes = encoding.bits // 8
    pixel_bytes = encoding.channels * value_bytes
    row_bytes = width * pixel_bytes
    if step < row_bytes:
        raise FrameError(f"expected a step of at least {row_bytes} bytes, got {step} in {_describe(message)}")
    if encoding.chroma is not None:
        return _planes(message, encoding.chroma)
    _check_length(message, step * height, step - row_bytes)
    dtype = np.dtype(np.uint8 if value_bytes == 1 else ">u2" if message.is_bigendian else "<u2")
    shape, strides = (height, width), (step, pixel_bytes)
    if encoding.channels > 1:
        shape, strides = (*shape, encoding.channels), (*strides, value_bytes)
    pixels = np.ndarray(shape, dtype, memoryview(message.data), strides=strides)
    return np.ascontiguousarray(pixels, dtype=dtype.newbyteorder("="))


def _planes(message: "Image", chroma: Chroma) -> np.ndarray:
    """The planes without padding, (rows, W): luminance, then all values of the colours."""
    height, width, step = message.height, message.width, message.step
    rows, row_bytes = round(height * chroma.rows), round(width * chroma.width)
    chroma_step = round(step * chroma.width)
    if chroma_step != step * chroma.width:
        raise FrameError(f"expected an even step for {message.encoding}, got {step} in {_describe(message)}")
    _check_length(message, step * height + chroma_step * rows, chroma_step - row_bytes)
    data = memoryview(message.data)
    if step == width:
        return np.frombuffer(data, np.uint8).reshape(-1, width)
    luminance = np.ndarray((height, width), np.uint8, data, strides=(step, 1))
    colours = np.ndarray((rows, row_bytes), np.uint8, data, step * height, (chroma_step, 1))
    return np.concatenate([luminance, colours.reshape(-1, width)])


def _check_length(message: "Image", expected: int, padding: int) -> None:
    """Raise FrameError unless the data have the expected length; some drivers omit the padding of the last row."""
    if not expected - padding <= len(message.data) <= expected:
        raise FrameError(
            f"expected {expected} bytes of data (step {message.step}), got {len(message.data)} in {_describe(message)}"
        )


def _by_cv_bridge(message: "Image") -> np.ndarray:
    expected = f"expected one of the encodings {', '.join(ENCODINGS)}, got {message.encoding!r}"
    if importlib.util.find_spec("cv_bridge") is None:
        raise FrameError(f"{expected} (install cv_bridge for more encodings)")
    if not cv_bridge_works():
        raise FrameError(
            f"{expected}; the installed cv_bridge, which may know it, does not work: if it was built for NumPy 1, it "
            f"needs numpy<2, but NumPy {np.__version__} is installed"
        )
    from cv_bridge import CvBridge  # pyright: ignore[reportMissingImports] of ROS only

    try:
        frame = CvBridge().imgmsg_to_cv2(message, desired_encoding="bgr8")
    except Exception as error:  # noqa: BLE001 it raises its own errors and those of OpenCV, NumPy and Python
        raise FrameError(f"{expected}; cv_bridge cannot convert it either: {one_line(error)}") from None
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
        raise FrameError(
            f"expected uint8 (H, W, 3) from cv_bridge, got {frame.dtype} {frame.shape} for {_describe(message)}"
        )
    return np.ascontiguousarray(frame)


@functools.cache
def cv_bridge_works() -> bool:
    """Whether cv_bridge is installed and can convert an image.

    The releases for Humble and Jazzy were built for NumPy 1 and crash a process with NumPy 2, so a separate process
    tries it.
    """
    attempt = (
        "from cv_bridge import CvBridge; from sensor_msgs.msg import Image; "
        "CvBridge().imgmsg_to_cv2(Image(height=1, width=1, encoding='rgb8', step=3, data=bytes(3)), 'bgr8')"
    )
    return subprocess.run([sys.executable, "-c", attempt], capture_output=True).returncode == 0


def compressed_to_array(message: "CompressedImage") -> np.ndarray:
    """The pixels that ``decode_compressed`` returns with the default options."""
    return decode_compressed(message).pixels


def decode_compressed(message: "CompressedImage", options: DecodeOptions = DecodeOptions()) -> Decoded:
    """The decoded JPEG or PNG as BGR.

    image_transport writes the encoding of the original image into ``format``, as in ``bayer_rggb8; jpeg compressed``.
    If it names a Bayer pattern, a single-channel image is demosaiced.

    Raises:
        FrameError: empty or truncated data, neither JPEG nor PNG, too many pixels or scans, a depth image
            ("compressedDepth"), or a single channel that is neither a grey image nor a Bayer mosaic.
    """

    def describe() -> str:
        return f"a compressed image of format {message.format!r} and {len(message.data)} bytes"

    if "compressedDepth" in message.format:
        raise FrameError(f"expected a colour or grey image, got {describe()}: use the colour topic of the camera")
    if len(message.data) == 0:
        raise FrameError(f"expected compressed data, got {describe()}")
    image = inspect(np.frombuffer(message.data, np.uint8))
    if image is None:
        raise FrameError(f"{describe()} could not be decoded: expected a JPEG or PNG, or it is truncated")
    _check_size(image.height, image.width, options, lambda: f"{describe()} ({image.width}x{image.height})")
    if image.scans > MAX_SCANS:
        raise FrameError(f"expected a JPEG of at most {MAX_SCANS} scans, got {image.scans} in {describe()}")
    try:
        values = cv2.imdecode(image.data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise FrameError(f"{describe()} could not be decoded: {error.err}") from None
    if values is None:
        raise FrameError(f"{describe()} could not be decoded: it is truncated")
    return _to_bgr(values, _encoding_of_decoded(values, message.format, describe), options, describe)


_GREY = ("mono8", "mono16", "8UC1")


def _encoding_of_decoded(values: np.ndarray, message_format: str, describe: Callable[[], str]) -> Encoding:
    """The arrangement of the values of a decoded JPEG or PNG, whose colours are always BGR."""
    original, separator, _ = message_format.partition(";")
    original = original.strip()
    if values.ndim == 3:
        return ENCODINGS["bgr8"]
    encoding = ENCODINGS.get(original)
    if original.startswith("bayer_") and encoding is not None:
        return encoding
    # A colour camera may switch to grey images; without an original encoding, the image is assumed to be grey.
    if not separator or original in _GREY or (encoding is not None and encoding.channels >= 3):
        return ENCODINGS["mono8"]
    raise FrameError(
        f"expected a colour image, a grey image or a Bayer mosaic, got {describe()} with one channel of {original!r}: "
        "let the camera driver publish rgb8 or bgr8 before compression"
    )


def array_to_image(pixels: np.ndarray, encoding: str, header: "Header") -> "Image":
    """A sensor_msgs/Image without padding.

    Args:
        pixels: uint8, (H, W) for ``mono8``, (H, W, 3) for ``bgr8`` and ``rgb8``.
        encoding: ``mono8``, ``bgr8`` or ``rgb8``.
        header: header of the message.
    """
    from sensor_msgs.msg import Image

    channels = {"mono8": 1, "bgr8": 3, "rgb8": 3}[encoding]
    expected = pixels.shape[:2] if channels == 1 else (*pixels.shape[:2], channels)
    if pixels.dtype != np.uint8 or pixels.shape != expected:
        raise ValueError(f"expected uint8 {expected} for {encoding}, got {pixels.dtype} {pixels.shape}")
    # rclpy uses an array.array as it is, but copies a NumPy array or memoryview value by value.
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(pixels).data)
    height, width = pixels.shape[:2]
    return Image(header=header, height=height, width=width, encoding=encoding, step=width * channels, data=data)


def _describe(message: "Image") -> str:
    return f"a {message.width}x{message.height} {message.encoding} image"
