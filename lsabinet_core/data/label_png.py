"""Decoding of PNG annotations to their stored values, for any bit depth.

Image libraries decode for display: they stretch 1-, 2- and 4-bit grey values to 0..255, replace palette indices by
colours, and reduce 16-bit values to 8 bits. Each of these changes class ids. This decoder therefore reads the header
first (PNG specification, https://www.w3.org/TR/png-3/) and passes OpenCV a file without anything to interpret: a
palette image becomes a grey image of its indices, and ancillary chunks such as transparency and gamma are removed.
"""

import struct
import zlib

import cv2
import numpy as np

from lsabinet_core.errors import DatasetError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
_COLOR_TYPES = {_GREY: "grey", 2: "RGB colours", _PALETTE: "palette", 4: "grey with alpha", 6: "RGB colours with alpha"}

# (offset, magic bytes, name, whether the format is lossless); the first match applies.
_OTHER_FORMATS = (
    (0, b"\xff\xd8\xff", "JPEG", False),
    (12, b"VP8 ", "lossy WebP", False),
    (8, b"WEBP", "WebP", True),
    (4, b"ftypavif", "AVIF", False),
    (4, b"ftyphei", "HEIC", False),
    (4, b"jP  \r\n\x87\n", "JPEG 2000", False),
    (0, b"GIF8", "GIF", True),
    (0, b"BM", "BMP", True),
    (0, b"II*\0", "TIFF", True),
    (0, b"MM\0*", "TIFF", True),
    (0, b"\x93NUMPY", "a NumPy array", True),
)


def decode_label(encoded: bytes | np.ndarray) -> np.ndarray:
    """Decode a single-channel PNG to its stored values, uint8 (H, W): grey values or palette indices.

    Args:
        encoded: the whole file, as bytes or an array of uint8.

    Raises:
        DatasetError: not a PNG, damaged, several channels, or a 16-bit value above 255. The message does not name the
            file.
    """
    encoded = bytes(encoded)
    if not encoded.startswith(_SIGNATURE):
        raise DatasetError(_describe_foreign(encoded))
    chunks = _chunks(encoded)
    if chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13 or all(kind != b"IDAT" for kind, _ in chunks):
        raise DatasetError("damaged PNG: expected a header and image data: export the annotation again")
    header = chunks[0][1]
    depth, color_type = header[8], header[9]
    if color_type not in (_GREY, _PALETTE):
        what = _COLOR_TYPES.get(color_type, f"colour type {color_type}")
        raise DatasetError(
            f"expected a single-channel PNG of class ids, got {what}: convert it to one channel, "
            "with a class id for each colour"
        )
    if color_type == _PALETTE or any(kind not in (b"IHDR", b"IDAT", b"IEND") for kind, _ in chunks):
        encoded = _as_plain_grey(header, chunks)
    values = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 2:
        raise DatasetError("damaged PNG: its image data cannot be decoded")
    if depth < 8:
        return _unstretched(values, depth)
    if depth == 16:
        if values.max() > 255:
            raise DatasetError(f"value {values.max()} in a 16-bit PNG: expected class ids 0..255")
        return values.astype(np.uint8)
    return values


def _chunks(encoded: bytes) -> list[tuple[bytes, bytes]]:
    """Return (type, content) of every chunk up to IEND, after verifying the checksums."""
    chunks, position = [], len(_SIGNATURE)
    while not chunks or chunks[-1][0] != b"IEND":
        if position + 12 > len(encoded):
            raise DatasetError("truncated PNG")
        length, kind = struct.unpack_from(">I4s", encoded, position)
        end = position + 8 + length
        if end + 4 > len(encoded):
            raise DatasetError("truncated PNG")
        if zlib.crc32(encoded[position + 4 : end]) != struct.unpack_from(">I", encoded, end)[0]:
            raise DatasetError(f"damaged PNG: wrong checksum of {kind.decode('ascii', 'replace')}")
        chunks.append((kind, encoded[position + 8 : end]))
        position = end + 4
    return chunks


def _as_plain_grey(header: bytes, chunks: list[tuple[bytes, bytes]]) -> bytes:
    kept = [(b"IHDR", header[:9] + bytes([_GREY]) + header[10:])]
    kept += [chunk for chunk in chunks if chunk[0] in (b"IDAT", b"IEND")]
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in kept
    )


def _unstretched(values: np.ndarray, depth: int) -> np.ndarray:
    factor = 255 // ((1 << depth) - 1)
    stored = values // factor
    if values.dtype != np.uint8 or (stored * factor != values).any():
        raise DatasetError(f"OpenCV {cv2.__version__} decodes {depth}-bit PNGs in an unknown way: save it as 8-bit PNG")
    return stored


def _describe_foreign(encoded: bytes) -> str:
    for offset, magic, name, lossless in _OTHER_FORMATS:
        if encoded.startswith(magic, offset):
            if lossless:
                return f"expected a PNG of class ids, got {name}: save it as a single-channel PNG"
            return (
                f"expected a PNG of class ids, got {name}, whose lossy compression changes them: export the "
                "annotations as PNG from the annotation tool; converting this file does not restore the ids"
            )
    return "not an annotation that can be decoded: expected a PNG of class ids"
