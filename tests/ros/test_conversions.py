"""Every encoding against numpy arithmetic, with padding and both byte orders."""

import array
import os
import sys
from textwrap import indent

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from lsabinet_core.errors import FrameError
from lsabinet_ros.conversions import (
    ENCODINGS,
    array_to_image,
    compressed_to_array,
    cv_bridge_works,
    image_to_array,
)

HEIGHT, WIDTH = 6, 8


def image(rows: np.ndarray, encoding: str, padding: int = 0, big_endian: bool = False, height=None) -> Image:
    """A message from (rows, ...) values of 8 or 16 bits, each row followed by ``padding`` bytes of 0xEE."""
    values = rows.astype(rows.dtype.newbyteorder(">" if big_endian else "<"))
    lines = [row.tobytes() + b"\xee" * padding for row in values]
    message = Image(
        height=rows.shape[0] if height is None else height,
        width=rows.shape[1],
        encoding=encoding,
        step=len(lines[0]),
        is_bigendian=int(big_endian),
    )
    message.data = array.array("B", b"".join(lines))
    return message


def random(*shape, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(3).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def to_8_bits(values: np.ndarray) -> np.ndarray:
    return np.rint(values.astype(np.float64) * 255 / 65535).astype(np.uint8)


CHANNELS = {"bgr": (0, 1, 2), "rgb": (2, 1, 0), "bgra": (0, 1, 2), "rgba": (2, 1, 0), "mono": (0, 0, 0)}
PACKED = [(f"{name}{bits}", bits, order) for name, order in CHANNELS.items() for bits in (8, 16)]
PACKED += [("8UC1", 8, (0, 0, 0)), ("8UC3", 8, (0, 1, 2)), ("8UC4", 8, (0, 1, 2))]


@pytest.mark.parametrize("padding", [0, 2, 5])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(("encoding", "bits", "order"), PACKED)
def test_packed_encodings(encoding, bits, order, big_endian, padding):
    channels = ENCODINGS[encoding].channels
    values = random(HEIGHT, WIDTH, channels, dtype=np.uint16 if bits == 16 else np.uint8)
    frame = image_to_array(image(values, encoding, padding, big_endian))
    expected = (to_8_bits(values) if bits == 16 else values)[..., list(order)]
    np.testing.assert_array_equal(frame, expected)
    assert frame.dtype == np.uint8 and frame.flags.c_contiguous


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns(pattern, bits, padding):
    # A scene of one colour: demosaicing gives it back everywhere but at the border.
    colour = {"r": 200, "g": 120, "b": 40}
    tile = np.array([colour[letter] for letter in pattern]).reshape(2, 2)
    values = np.tile(tile, (6, 6)).astype(np.uint8)
    if bits == 16:
        values = values.astype(np.uint16) * 257
    frame = image_to_array(image(values, f"bayer_{pattern}{bits}", padding))
    inner = frame[2:-2, 2:-2].reshape(-1, 3)
    np.testing.assert_array_equal(inner, np.broadcast_to([40, 120, 200], inner.shape))


def bt601(y, u, v) -> np.ndarray:
    """Video-range BT.601 to BGR, in floating point."""
    y, u, v = (np.asarray(plane, np.float64) for plane in (y, u, v))
    luma, u, v = 1.164 * (y - 16), u - 128, v - 128
    return np.clip(np.stack([luma + 2.018 * u, luma - 0.391 * u - 0.813 * v, luma + 1.596 * v], -1), 0, 255)


def planes():
    y = random(HEIGHT, WIDTH) // 2 + 60
    half = np.random.default_rng(4).integers(90, 160, (2, HEIGHT, WIDTH // 2), dtype=np.uint8)
    return y, half[0], half[1]


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize(
    ("encoding", "order"), [("uyvy", "uyvy"), ("yuv422", "uyvy"), ("yuyv", "yuyv"), ("yuv422_yuy2", "yuyv")]
)
def test_yuv_422(encoding, order, padding):
    y, u, v = planes()
    pair = {"u": u, "v": v}
    luma = iter((y[:, 0::2], y[:, 1::2]))
    values = np.stack([next(luma) if letter == "y" else pair[letter] for letter in order], -1).reshape(HEIGHT, WIDTH, 2)
    frame = image_to_array(image(values, encoding, padding))
    expected = bt601(y, u.repeat(2, 1), v.repeat(2, 1))
    assert np.abs(frame - expected).max() <= 2


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_yuv_420(encoding, padding):
    y, u, v = (plane[: HEIGHT // 2] if index else plane for index, plane in enumerate(planes()))
    first, second = (u, v) if encoding == "nv12" else (v, u)
    chroma = np.stack([first, second], -1).reshape(HEIGHT // 2, WIDTH)
    frame = image_to_array(image(np.vstack([y, chroma]), encoding, padding, height=HEIGHT))
    expected = bt601(y, u.repeat(2, 0).repeat(2, 1), v.repeat(2, 0).repeat(2, 1))
    assert frame.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(frame - expected).max() <= 2


def test_every_encoding_is_tested():
    tested = {encoding for encoding, *_ in PACKED} | {"uyvy", "yuv422", "yuyv", "yuv422_yuy2", "nv12", "nv21"}
    tested |= {f"bayer_{pattern}{bits}" for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)}
    assert set(ENCODINGS) == tested


def test_bgr8_without_padding_is_not_copied():
    message = image(random(HEIGHT, WIDTH, 3), "bgr8")
    frame = image_to_array(message)
    message.data[0] ^= 255
    assert frame[0, 0, 0] == message.data[0]


def test_last_row_may_lack_its_padding():
    values = random(HEIGHT, WIDTH, 3)
    message = image(values, "bgr8", padding=5)
    message.data = message.data[:-5]
    np.testing.assert_array_equal(image_to_array(message), values)


def broken(**changes) -> Image:
    message = image(random(HEIGHT, WIDTH, 3), "bgr8")
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (broken(height=0), "at least one pixel"),
        (broken(width=0), "at least one pixel"),
        (broken(step=23), "step of at least 24"),
        (broken(step=0), "step of at least 24"),
        (broken(step=25), "expected 150 bytes"),
        (broken(height=7), "expected 168 bytes"),
        (broken(height=5), "expected 120 bytes"),
        (broken(data=array.array("B")), "got 0"),
        (broken(width=2**31, height=2**31), "at most"),
        (broken(width=7, step=24, encoding="uyvy"), "even width"),
        (broken(height=5, encoding="nv12"), "even height"),
    ],
)
def test_messages_that_do_not_add_up_are_refused(message, words):
    with pytest.raises(FrameError, match=words):
        image_to_array(message)


def test_unknown_encoding_names_those_that_are_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    with pytest.raises(FrameError, match="bgr8.*nv21.*32FC1"):
        image_to_array(broken(encoding="32FC1"))


@pytest.fixture
def install_cv_bridge(tmp_path, monkeypatch):
    """Installs a cv_bridge with the given body of ``imgmsg_to_cv2``, for this process and for others."""

    def install(body):
        program = f"class CvBridge:\n    def imgmsg_to_cv2(self, message, desired_encoding):\n{indent(body, 8 * ' ')}"
        (tmp_path / "cv_bridge.py").write_text(program)

    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)
    cv_bridge_works.cache_clear()
    yield install
    sys.modules.pop("cv_bridge", None)
    cv_bridge_works.cache_clear()


def test_unknown_encoding_goes_to_cv_bridge_where_it_is_installed(install_cv_bridge):
    install_cv_bridge(
        "import numpy\n"
        "assert desired_encoding == 'bgr8'\n"
        "if message.encoding == 'mystery':\n"
        "    raise RuntimeError('Unrecognized\\nimage encoding')\n"
        "return numpy.full((2, 3, 3), 9, numpy.uint8)"
    )
    np.testing.assert_array_equal(image_to_array(broken(encoding="32FC3")), np.full((2, 3, 3), 9))
    with pytest.raises(FrameError, match="Unrecognized image encoding"):
        image_to_array(broken(encoding="mystery"))


def test_a_cv_bridge_that_would_crash_the_node_is_not_called(install_cv_bridge):
    """As one that was made for NumPy 1 does beside NumPy 2."""
    install_cv_bridge("import os\nos.abort()")
    with pytest.raises(FrameError, match="expected an encoding of bgr8.*cv_bridge.*does not work here.*numpy<2"):
        image_to_array(broken(encoding="32FC3"))


def test_agrees_with_cv_bridge():
    if not cv_bridge_works():
        pytest.skip("cv_bridge comes with a ROS installation only, and Humble's and Jazzy's want NumPy 1")
    from cv_bridge import CvBridge

    bridge = CvBridge()
    # What its releases have in common; the type names are no colours to it.
    known = [name for name in ENCODINGS if name == "yuv422" or name.startswith(("bgr", "rgb", "mono", "bayer"))]
    assert len(known) == 19
    for encoding in known:
        dtype = np.uint16 if encoding.endswith("16") else np.uint8
        channels = ENCODINGS[encoding].channels
        message = image(random(HEIGHT, WIDTH, *[channels] * (channels > 1), dtype=dtype), encoding)
        theirs = bridge.imgmsg_to_cv2(message, desired_encoding="bgr8").astype(int)
        assert np.abs(theirs - image_to_array(message)).max() <= 1, encoding


# Compressed images


def compressed(data: bytes, kind: str = "jpeg") -> CompressedImage:
    message = CompressedImage(format=kind)
    message.data = array.array("B", data)
    return message


def test_png_and_jpeg():
    values = random(20, 30, 3)
    png = cv2.imencode(".png", values)[1].tobytes()
    np.testing.assert_array_equal(compressed_to_array(compressed(png, "png")), values)
    flat = np.full((20, 30, 3), (40, 120, 200), np.uint8)
    jpeg = cv2.imencode(".jpg", flat)[1].tobytes()
    assert np.abs(compressed_to_array(compressed(jpeg)).astype(int) - flat).max() <= 3
    grey = cv2.imencode(".png", values[..., 0])[1].tobytes()
    np.testing.assert_array_equal(compressed_to_array(compressed(grey)), values[..., :1].repeat(3, -1))


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"", "jpeg", "expected compressed data"),
        (b"this is no image" * 20, "jpeg", "could not be decoded"),
        (cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes()[:30], "png", "could not be decoded"),
        (b"whatever", "16UC1; compressedDepth png", "colour topic"),
    ],
)
def test_bad_compressed_data_is_refused(data, kind, words):
    with pytest.raises(FrameError, match=words):
        compressed_to_array(compressed(data, kind))


# Arrays to messages


def test_array_to_image():
    header = Header(frame_id="front")
    header.stamp.sec = 5
    mask = random(HEIGHT, WIDTH)
    message = array_to_image(mask, "mono8", header)
    assert message.header == header
    assert (message.height, message.width, message.step, message.is_bigendian) == (HEIGHT, WIDTH, WIDTH, 0)
    assert isinstance(message.data, array.array) and message.data.tobytes() == mask.tobytes()
    colour = random(HEIGHT, WIDTH, 3)
    # A reversed view, as BGR to RGB gives it, is laid out anew.
    message = array_to_image(colour[..., ::-1], "rgb8", header)
    assert message.step == 3 * WIDTH
    np.testing.assert_array_equal(image_to_array(message), colour)


@pytest.mark.parametrize(
    ("pixels", "encoding"),
    [(random(4, 4, 3), "mono8"), (random(4, 4), "rgb8"), (random(4, 4).astype(np.float32), "mono8")],
)
def test_array_that_does_not_fit_the_encoding(pixels, encoding):
    with pytest.raises(ValueError, match="expected uint8"):
        array_to_image(pixels, encoding, Header())
