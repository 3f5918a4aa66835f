"""JPEG and PNG files are checked before they are decoded, so that no decoder allocates more than their pixels."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from lsabinet_ros.encoded_images import PNG, inspect


def random(*shape, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(3).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def chunk(name: bytes, content: bytes, length: int | None = None) -> bytes:
    size = len(content) if length is None else length
    return struct.pack(">I", size) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_chunks(png: np.ndarray, *chunks: bytes) -> np.ndarray:
    """The PNG with further chunks after its header."""
    after_header = len(PNG) + 25
    return np.concatenate([png[:after_header], np.frombuffer(b"".join(chunks), np.uint8), png[after_header:]])


@pytest.mark.parametrize("suffix", [".png", ".jpg", "progressive", "restart", "exif"])
def test_size_in_the_header(suffix):
    pixels = random(37, 53, 3)
    flags = {"progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], "restart": [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]}
    data = cv2.imencode(suffix if suffix in (".png", ".jpg") else ".jpg", pixels, flags.get(suffix, []))[1]
    if suffix == "exif":
        # A segment of application data, and padding before the next marker.
        data = np.concatenate([data[:2], np.frombuffer(b"\xff\xe1\x00\x08Exif\0\0\xff\xff", np.uint8), data[3:]])
    image = inspect(data)
    assert (image.height, image.width) == (37, 53)
    # What is harmless is decoded as it is.
    assert image.data is data
    for length in range(0, 24):
        assert inspect(data[:length]) is None
    assert inspect(np.frombuffer(b"BM" + bytes(60), np.uint8)) is None


def test_a_cut_png_is_not_decoded():
    data = cv2.imencode(".png", random(37, 53, 3))[1]
    for length in range(24, len(data), 97):
        assert inspect(data[:length]) is None
    assert inspect(np.concatenate([data, np.zeros(100, np.uint8)])) is not None


@pytest.mark.parametrize("name", [b"IDAT", b"tEXt", b"PLTE", b"fdAT"])
def test_a_chunk_that_claims_more_than_the_file_has_is_not_decoded(name):
    """OpenCV would allocate as much."""
    data = cv2.imencode(".png", random(37, 53))[1]
    assert inspect(with_chunks(data, chunk(name, bytes(9), length=0xFFFFFFF0))) is None


def test_chunks_that_are_not_pixels_are_left_out():
    pixels = random(37, 53, 3)
    data = cv2.imencode(".png", pixels)[1]
    # Each of 8 MB when it is inflated.
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(8_000_000), 9))
    large = with_chunks(data, *[bomb] * 3, chunk(b"tEXt", b"Comment\0hello"))
    image = inspect(large)
    np.testing.assert_array_equal(image.data, data)
    np.testing.assert_array_equal(cv2.imdecode(image.data, cv2.IMREAD_UNCHANGED), pixels)


@pytest.mark.parametrize("shape", [(37, 53), (37, 53, 3), (37, 53, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_do_not_depend_on_what_is_left_out(shape, dtype):
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    data = cv2.imencode(".png", random(*shape, dtype=dtype))[1]
    # The resolution and the gamma curve, which OpenCV ignores.
    other = with_chunks(data, chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"pHYs", struct.pack(">IIB", 1, 1, 1)))
    expected = cv2.imdecode(other, flags)
    np.testing.assert_array_equal(cv2.imdecode(inspect(other).data, flags), expected)
    np.testing.assert_array_equal(cv2.imdecode(inspect(data).data, flags), expected)


def progressive(repeats: int = 0) -> np.ndarray:
    """A progressive JPEG whose last scan is there ``repeats`` times more."""
    data = cv2.imencode(".jpg", random(37, 53, 3), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    last = data[data.rindex(b"\xff\xda") : -2]
    return np.frombuffer(data[:-2] + last * repeats + data[-2:], np.uint8)


def test_scans_are_counted():
    """The numbers for a colour image are those of libjpeg's ``jpeg_simple_progression`` (jcparam.c)."""
    assert inspect(cv2.imencode(".jpg", random(200, 300, 3))[1]).scans == 1
    assert inspect(progressive()).scans == 10
    assert inspect(progressive(500)).scans == 510
    assert inspect(cv2.imencode(".png", random(37, 53, 3))[1]).scans == 1


def test_a_jpeg_of_padding_alone_is_no_image():
    data = np.full(4_000_000, 0xFF, np.uint8)
    data[1] = 0xD8
    assert inspect(data) is None
