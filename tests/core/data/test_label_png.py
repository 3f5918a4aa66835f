"""Labels are read with their stored values: against PNGs written byte by byte and by Pillow."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from lsabinet_core.data.label_png import decode_label
from lsabinet_core.errors import DatasetError

SIZE = (11, 13)
GREY, PALETTE = 0, 3
# The single pass without interlacing, and the seven passes of Adam7: first row, first column, row step, column step.
PASSES = {
    0: [(0, 0, 1, 1)],
    1: [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)],
}
COLORS = bytes(np.random.default_rng(5).integers(0, 256, 3 * 256, np.uint8))
EXTRAS = {
    "none": [],
    "transparency": [(b"tRNS", None)],
    "gamma": [(b"gAMA", struct.pack(">I", 45455)), (b"sRGB", b"\0"), (b"tEXt", b"Software\0tests")],
    "significant bits": [(b"sBIT", None)],
}


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_png(values, depth, color_type=GREY, interlace=0, extras="none"):
    """Encode integers (H, W) as PNG according to the specification."""
    data = b""
    for top, left, down, right in PASSES[interlace]:
        for row in values[top::down, left::right]:
            bits = "".join(format(value, f"0{depth}b") for value in row.tolist())
            bits += "0" * (-len(bits) % 8)
            if bits:
                data += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    height, width = values.shape
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, interlace))]
    for kind, content in EXTRAS[extras]:
        if kind == b"sBIT":
            chunks.append((kind, b"\1" * (3 if color_type == PALETTE else 1)))
        elif content is not None:
            chunks.append((kind, content))
    if color_type == PALETTE:
        chunks.append((b"PLTE", COLORS[: 3 * min(256, 1 << depth)]))
    if extras == "transparency":
        chunks.append((b"tRNS", b"\0" if color_type == PALETTE else struct.pack(">H", 1)))
    chunks += [(b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*entry) for entry in chunks)


def some_values(depth, most=255):
    return np.random.default_rng(depth).integers(0, min(1 << depth, most + 1), SIZE)


def encoded_by_pillow(image, **options):
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


@pytest.mark.parametrize("extras", EXTRAS)
@pytest.mark.parametrize("interlace", PASSES)
@pytest.mark.parametrize(
    ("depth", "color_type"),
    [(1, GREY), (2, GREY), (4, GREY), (8, GREY), (16, GREY), (1, PALETTE), (2, PALETTE), (4, PALETTE), (8, PALETTE)],
)
def test_values_are_those_stored(depth, color_type, interlace, extras):
    values = some_values(depth)
    label = decode_label(write_png(values, depth, color_type, interlace, extras))
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, values)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_label_of_one_value(depth):
    for value in (0, 1, min(255, (1 << depth) - 1)):
        assert (decode_label(write_png(np.full(SIZE, value), depth)) == value).all()


@pytest.mark.parametrize("mode", ["1", "P", "L", "I;16"])
def test_files_written_by_pillow(mode):
    values = some_values(1).astype(np.uint8)
    if mode == "1":
        image = Image.fromarray(values > 0)
    elif mode == "I;16":
        image = Image.fromarray(values.astype(np.uint16))
    else:
        image = Image.fromarray(values)
    if mode == "P":
        image = Image.frombytes("P", SIZE[::-1], values.tobytes())
        image.putpalette([0, 0, 0, 128, 0, 0])
    assert image.mode == mode
    options = {"transparency": 0} if mode == "P" else {}
    np.testing.assert_array_equal(decode_label(encoded_by_pillow(image, format="PNG", **options)), values)


def test_arrays_are_accepted():
    values = some_values(8)
    np.testing.assert_array_equal(decode_label(np.frombuffer(write_png(values, 8, PALETTE), np.uint8)), values)


@pytest.mark.parametrize("value", [256, 26001, 65535])
def test_values_above_255_are_rejected(value):
    values = some_values(8)
    values[3, 4] = value
    with pytest.raises(DatasetError, match=f"value {value} in a 16-bit PNG"):
        decode_label(write_png(values, 16))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "JPEG"}, "got JPEG, .*lossy"),
        ({"format": "WEBP"}, "got lossy WebP, .* changes"),
        ({"format": "WEBP", "lossless": True}, "WebP: save it as a single-channel PNG"),
        ({"format": "BMP"}, "BMP: save it"),
        ({"format": "TIFF"}, "TIFF: save it"),
        ({"format": "GIF"}, "GIF: save it"),
    ],
)
def test_other_formats_are_named(options, words):
    image = Image.fromarray(np.zeros(SIZE, np.uint8))
    with pytest.raises(DatasetError, match=words):
        decode_label(encoded_by_pillow(image, **options))


@pytest.mark.parametrize(("mode", "words"), [("RGB", "RGB colours"), ("RGBA", "with alpha"), ("LA", "grey with alpha")])
def test_colours_are_rejected(mode, words):
    with pytest.raises(DatasetError, match=f"single-channel PNG .* got .*{words}: convert"):
        decode_label(encoded_by_pillow(Image.new(mode, SIZE), format="PNG"))


def test_damaged_files():
    whole = cv2.imencode(".png", some_values(8).astype(np.uint8))[1].tobytes()
    for end in (len(whole) - 1, len(whole) - 12, len(whole) // 2, 20, 8):
        with pytest.raises(DatasetError, match="truncated PNG"):
            decode_label(whole[:end])
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x10
    with pytest.raises(DatasetError, match="damaged PNG: wrong checksum of IDAT"):
        decode_label(flipped)
    with pytest.raises(DatasetError, match="damaged PNG"):
        decode_label(whole[:8] + chunk(b"IEND", b""))
    for content in (b"", b"no image", bytes(100)):
        with pytest.raises(DatasetError, match="not an annotation that can be decoded"):
            decode_label(content)


def test_image_data_that_ends_early():
    """Every checksum is right, but rows are missing."""
    values = some_values(8)
    header = struct.pack(">IIBBBBB", SIZE[1], SIZE[0], 8, GREY, 0, 0, 0)
    data = b"".join(b"\0" + row.astype(np.uint8).tobytes() for row in values[:5])
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    with pytest.raises(DatasetError, match="damaged PNG"):
        decode_label(png)
