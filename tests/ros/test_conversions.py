"""Every encoding against NumPy arithmetic, with padding and in both byte orders."""

import array
import os
import struct
import sys
import zlib
from textwrap import indent

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from lsabinet_core.errors import FrameError
from lsabinet_ros.conversions import (
    ENCODINGS,
    MAX_PIXELS,
    DecodeOptions,
    array_to_image,
    compressed_to_array,
    cv_bridge_works,
    decode_compressed,
    decode_image,
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
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns(pattern, bits, padding):
    # An image of one colour: demosaicing reproduces it everywhere except at the border.
    colour = {"r": 200, "g": 120, "b": 40}
    tile = np.array([colour[letter] for letter in pattern]).reshape(2, 2)
    values = np.tile(tile, (6, 6)).astype(np.uint8)
    if bits == 16:
        values = values.astype(np.uint16) * 257
    frame = image_to_array(image(values, f"bayer_{pattern}{bits}", padding))
    inner = frame[2:-2, 2:-2].reshape(-1, 3)
    np.testing.assert_array_equal(inner, np.broadcast_to([40, 120, 200], inner.shape))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("encoding", ["mono16", "bgr16", "bayer_rggb16"])
def test_significant_bits_of_16_bit_images(encoding, bits):
    values = random(HEIGHT, WIDTH, 3 if encoding == "bgr16" else 1, dtype=np.uint16) >> (16 - bits)
    message = image(values, encoding, big_endian=True)
    found = decode_image(message, DecodeOptions(significant_bits=bits)).pixels
    scaled = np.rint(values * (255 / (2**bits - 1))).astype(np.uint8)
    expected = image_to_array(image(scaled, encoding.replace("16", "8")))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("peak", "bits", "nearly_black"), [(4095, 16, True), (4096, 16, False), (255, 12, True), (256, 12, False)]
)
def test_16_bit_images_without_a_value_above_a_sixteenth_are_nearly_black(peak, bits, nearly_black):
    values = np.zeros((HEIGHT, WIDTH), np.uint16)
    values[2, 3] = peak
    options = DecodeOptions(significant_bits=bits)
    assert decode_image(image(values, "mono16"), options).nearly_black is nearly_black
    png = cv2.imencode(".png", values)[1].tobytes()
    assert decode_compressed(compressed(png, "mono16; png compressed "), options).nearly_black is nearly_black
    # A camera with 8 bits sees a dark night correctly.
    assert decode_image(image(np.zeros((HEIGHT, WIDTH), np.uint8), "mono8"), options).nearly_black is False


def bt601(y, u, v) -> np.ndarray:
    """Convert video-range BT.601 to BGR in floating point."""
    y, u, v = (np.asarray(plane, np.float64) for plane in (y, u, v))
    luma, u, v = 1.164 * (y - 16), u - 128, v - 128
    return np.clip(np.stack([luma + 2.018 * u, luma - 0.391 * u - 0.813 * v, luma + 1.596 * v], -1), 0, 255)


def planes():
    y = random(HEIGHT, WIDTH) // 2 + 60
    half = np.random.default_rng(4).integers(90, 160, (2, HEIGHT, WIDTH // 2), dtype=np.uint8)
    return y, half[0], half[1]


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [("uyvy", "uyvy"), ("yuv422", "uyvy"), ("yuyv", "yuyv"), ("yuv422_yuy2", "yuyv"), ("yvyu", "yvyu")],
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


def planar(encoding: str, *planes: np.ndarray, steps: tuple[int, ...]) -> Image:
    """A message of planes, each of whose rows is filled up to its step."""
    rows = [row.tobytes().ljust(step, b"\xee") for plane, step in zip(planes, steps, strict=True) for row in plane]
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=steps[0])
    message.data = array.array("B", b"".join(rows))
    return message


@pytest.mark.parametrize("padding", [0, 4])
def test_i420(padding):
    y, u, v = (plane[: HEIGHT // 2] if index else plane for index, plane in enumerate(planes()))
    half = (WIDTH + padding) // 2
    frame = image_to_array(planar("i420", y, u, v, steps=(WIDTH + padding, half, half)))
    expected = bt601(y, u.repeat(2, 0).repeat(2, 1), v.repeat(2, 0).repeat(2, 1))
    assert np.abs(frame - expected).max() <= 2


@pytest.mark.parametrize("padding", [0, 3])
def test_nv24(padding):
    y, u, v = random(HEIGHT, WIDTH), random(HEIGHT, WIDTH) // 2 + 64, random(WIDTH, HEIGHT).T // 2 + 64
    chroma = np.stack([u, v], -1).reshape(HEIGHT, 2 * WIDTH)
    frame = image_to_array(planar("nv24", y, chroma, steps=(WIDTH + padding, 2 * (WIDTH + padding))))
    assert frame.flags.c_contiguous
    assert np.abs(frame - bt601(y, u, v)).max() <= 2


def test_every_encoding_is_tested():
    tested = {encoding for encoding, *_ in PACKED} | {"uyvy", "yuv422", "yuyv", "yuv422_yuy2", "yvyu"}
    tested |= {"nv12", "nv21", "i420", "nv24"}
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
        (broken(height=0), "8x0"),
        (broken(width=0), "0x6"),
        (broken(step=23), r"step .*24"),
        (broken(step=0), r"step .*24"),
        (broken(step=25), r"150 bytes.*144"),
        (broken(height=7), r"168 bytes.*144"),
        (broken(height=5), r"120 bytes.*144"),
        (broken(data=array.array("B")), r"144 bytes.* 0 "),
        (broken(width=2**31, height=2**31), "32768"),
        (broken(width=32768, height=32768), "max_pixels"),
        (broken(width=7, step=24, encoding="uyvy"), r"width .*uyvy"),
        (broken(height=5, encoding="nv12"), r"height .*nv12"),
        (broken(step=25, encoding="i420"), r"even step .*i420"),
        (broken(step=8, encoding="nv24", data=array.array("B", bytes(143))), r"144 bytes.* 143 "),
    ],
)
def test_inconsistent_messages_are_rejected(message, words):
    with pytest.raises(FrameError, match=words):
        image_to_array(message)


def test_images_with_too_many_pixels_are_rejected():
    message = broken()
    assert decode_image(message, DecodeOptions(max_pixels=HEIGHT * WIDTH)).pixels.shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(FrameError, match=r"47 pixels.*8x6.*max_pixels"):
        decode_image(message, DecodeOptions(max_pixels=HEIGHT * WIDTH - 1))
    with pytest.raises(FrameError, match=f"{MAX_PIXELS} pixels"):
        image_to_array(broken(width=8192, height=4097))


def test_error_of_an_unknown_encoding_names_the_known_ones(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    with pytest.raises(FrameError, match=r"bgr8.*nv21.*32FC1"):
        image_to_array(broken(encoding="32FC1"))


@pytest.fixture
def install_cv_bridge(tmp_path, monkeypatch):
    """Install a cv_bridge with the given body of ``imgmsg_to_cv2``, for this process and its children."""

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


def test_cv_bridge_converts_unknown_encodings_if_it_is_installed(install_cv_bridge):
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
    """A release that was built for NumPy 1 crashes a process with NumPy 2."""
    install_cv_bridge("import os\nos.abort()")
    with pytest.raises(FrameError, match=r"bgr8.*32FC3.*cv_bridge.*numpy<2"):
        image_to_array(broken(encoding="32FC3"))


def test_agrees_with_cv_bridge():
    if not cv_bridge_works():
        pytest.skip("cv_bridge is only part of a ROS installation, and needs NumPy 1 on Humble and Jazzy")
    from cv_bridge import CvBridge

    bridge = CvBridge()
    # The encodings that all its releases know; for type names such as 8UC3 it has no channel order.
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
        (b"", "jpeg", "jpeg.* 0 bytes"),
        (b"not an image" * 20, "jpeg", "jpeg.* 240 bytes"),
        (cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes()[:30], "png", "png.* 30 bytes"),
        (b"whatever", "16UC1; compressedDepth png", "compressedDepth"),
    ],
)
def test_bad_compressed_data_is_rejected(data, kind, words):
    with pytest.raises(FrameError, match=words):
        compressed_to_array(compressed(data, kind))


def mosaic(pattern: str, dtype=np.uint8) -> np.ndarray:
    """One colour, (40, 120, 200) as blue, green and red, seen through the filters of a Bayer sensor."""
    colour = {"r": 200, "g": 120, "b": 40}
    tile = np.array([colour[letter] for letter in pattern]).reshape(2, 2)
    return np.tile(tile, (8, 8)).astype(dtype) * (257 if dtype is np.uint16 else 1)


@pytest.mark.parametrize("written", ["bayer_{}{}; png compressed ", "bayer_{}{}; png compressed bgr8"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_compressed_bayer_mosaics(pattern, bits, written):
    values = mosaic(pattern, np.uint16 if bits == 16 else np.uint8)
    png = cv2.imencode(".png", values)[1].tobytes()
    frame = compressed_to_array(compressed(png, written.format(pattern, bits)))
    inner = frame[2:-2, 2:-2].reshape(-1, 3)
    np.testing.assert_array_equal(inner, np.broadcast_to([40, 120, 200], inner.shape))


def test_a_bayer_image_that_was_compressed_in_colour_is_a_colour_image():
    values = random(20, 30, 3)
    png = cv2.imencode(".png", values)[1].tobytes()
    message = compressed(png, "bayer_rggb8; png compressed bgr8")
    np.testing.assert_array_equal(compressed_to_array(message), values)


@pytest.mark.parametrize("original", ["yuv422", "uyvy", "nv12", "16UC1", "mystery"])
def test_one_channel_of_another_encoding_is_rejected(original):
    png = cv2.imencode(".png", random(20, 30))[1].tobytes()
    with pytest.raises(FrameError, match=f"{original}.*bgr8"):
        compressed_to_array(compressed(png, f"{original}; png compressed "))
    # In three channels, the pictures are colour images whatever they were before.
    colour = random(20, 30, 3)
    png = cv2.imencode(".png", colour)[1].tobytes()
    np.testing.assert_array_equal(compressed_to_array(compressed(png, f"{original}; png compressed bgr8")), colour)


@pytest.mark.parametrize("kind", ["mono8; jpeg compressed ", "bgr8; jpeg compressed bgr8", "jpeg", ""])
def test_compressed_grey_images(kind):
    grey = np.full((20, 30), 77, np.uint8)
    jpeg = cv2.imencode(".jpg", grey)[1].tobytes()
    assert np.abs(compressed_to_array(compressed(jpeg, kind)).astype(int) - 77).max() <= 3


def large_png(side: int) -> bytes:
    """A black PNG of one bit per pixel: a small file with ``side`` x ``side`` pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = zlib.compress(bytes(side * (1 + (side + 7) // 8)), 9)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_large_compressed_images_are_rejected_before_they_are_decoded(monkeypatch):
    small = large_png(64)
    assert compressed_to_array(compressed(small, "png")).shape == (64, 64, 3)
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(FrameError, match=r"20000x20000.*max_pixels"):
        compressed_to_array(compressed(large_png(20_000), "png"))
    with pytest.raises(FrameError, match=r"4095 pixels.*64x64"):
        decode_compressed(compressed(small, "png"), DecodeOptions(max_pixels=4095))


def test_jpegs_of_many_scans_are_rejected_before_they_are_decoded(monkeypatch):
    """Decoding one of 220 kB with 510 scans of 7680x4320 pixels takes more than ten seconds."""
    data = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert compressed_to_array(compressed(data)).shape == (64, 64, 3)
    last = data[data.rindex(b"\xff\xda") : -2]
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(FrameError, match="at most 32 scans, got 510"):
        compressed_to_array(compressed(data[:-2] + last * 500 + data[-2:]))


# Arrays to messages


def test_array_to_image():
    header = Header(frame_id="front")
    header.stamp.sec = 5
    mask = random(HEIGHT, WIDTH)
    message = array_to_image(mask, "mono8", header)
    assert message.header == header
    assert (message.height, message.width, message.step, message.is_bigendian) == (HEIGHT, WIDTH, WIDTH, 0)
    assert isinstance(message.data, array.array)
    assert message.data.tobytes() == mask.tobytes()
    colour = random(HEIGHT, WIDTH, 3)
    # A reversed view, as from BGR to RGB, is copied to a contiguous array.
    message = array_to_image(colour[..., ::-1], "rgb8", header)
    assert message.step == 3 * WIDTH
    np.testing.assert_array_equal(image_to_array(message), colour)


@pytest.mark.parametrize(
    ("pixels", "encoding"),
    [(random(4, 4, 3), "mono8"), (random(4, 4), "rgb8"), (random(4, 4).astype(np.float32), "mono8")],
)
def test_array_that_does_not_match_the_encoding(pixels, encoding):
    with pytest.raises(ValueError, match=encoding):
        array_to_image(pixels, encoding, Header())
