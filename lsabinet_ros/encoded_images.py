"""Checks JPEG and PNG files before they are decoded, so that none takes more memory or time than its pixels need.

Decoders trust the headers of a file. OpenCV allocates a chunk of a PNG with the length in its header, up to 4 GB,
before it finds that the file is shorter, and libpng inflates every compressed text, up to a thousand times its size.
libjpeg passes over the whole image for every scan of a JPEG, which may be a few bytes long.
"""

import re
import struct
from dataclasses import dataclass

import numpy as np

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"

_JPEG_MARKER = re.compile(rb"\xff+([^\xff])", re.DOTALL)
"""A marker, before which there may be padding."""

_ANCILLARY = 0x20
"""Bit of the first letter of a PNG chunk's name: decoders may ignore the chunk."""


@dataclass(frozen=True)
class EncodedImage:
    """A JPEG or PNG.

    Attributes:
        height, width: according to its header, in pixels.
        data: uint8 (N,), the bytes to decode.
        scans: maximum number of passes of a decoder over the pixels; 1 for a PNG.
    """

    height: int
    width: int
    data: np.ndarray
    scans: int = 1


def inspect(data: np.ndarray) -> EncodedImage | None:
    """Read the header of a file, and remove chunks without pixels, which could expand when they are decoded.

    Args:
        data: uint8 (N,), the file.

    Returns:
        None if it is neither JPEG nor PNG, or is truncated. A JPEG is read up to its size; after
        that, only its scans are counted.
    """
    start = data[: len(PNG)].tobytes()
    if start == PNG:
        return _inspect_png(data)
    return _inspect_jpeg(data) if start[: len(JPEG)] == JPEG else None


def _inspect_png(data: np.ndarray) -> EncodedImage | None:
    kept = [data[: len(PNG)]]
    position, name = len(PNG), b""
    while name != b"IEND":
        if position + 8 > len(data):
            return None
        length, name = struct.unpack_from(">I4s", data.data, position)
        # The name and length before the content, a checksum after it.
        end = position + 12 + length
        if end > len(data):
            return None
        if not name[0] & _ANCILLARY:
            kept.append(data[position:end])
        position = end
    header = kept[1]
    if header[4:8].tobytes() != b"IHDR" or len(header) != 25:
        return None
    width, height = struct.unpack_from(">II", header.data, 8)
    complete = sum(map(len, kept)) == position
    return EncodedImage(height, width, data if complete else np.concatenate(kept))


def _inspect_jpeg(data: np.ndarray) -> EncodedImage | None:
    position = len(JPEG)
    while (match := _JPEG_MARKER.match(data.data, position)) is not None:
        marker, position = match[1][0], match.end()
        # Start of frame, of any kind; the other three of this range are tables.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if position + 7 > len(data):
                return None
            height, width = struct.unpack_from(">HH", data.data, position + 3)
            return EncodedImage(height, width, data, _count_scans(data))
        if marker != 0x01 and not 0xD0 <= marker <= 0xD7:  # these have no content
            if position + 2 > len(data):
                return None
            position += struct.unpack_from(">H", data.data, position)[0]
    return None


def _count_scans(data: np.ndarray) -> int:
    """Number of scan markers; these two bytes do not occur in compressed pixels."""
    return int(np.count_nonzero((data[:-1] == 0xFF) & (data[1:] == 0xDA)))
