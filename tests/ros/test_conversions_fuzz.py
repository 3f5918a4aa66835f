"""Mutated messages at the conversion: each gives a frame or a FrameError, and nothing else."""

import array

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from lsabinet_core.errors import FrameError
from lsabinet_ros.conversions import ENCODINGS, DecodeOptions, decode_compressed, decode_image

MESSAGES = 2_000
OPTIONS = DecodeOptions(max_pixels=1 << 16)
FORMATS = ("rgb8; jpeg compressed bgr8", "mono8; png compressed ", "bayer_rggb8; jpeg compressed ", "jpeg", "", "x;y;z")


def mutated(random: np.random.Generator, data: bytes) -> array.array:
    """The data with some bytes changed, and cut or extended."""
    values = np.frombuffer(data, np.uint8).copy()
    for at in random.integers(0, len(values), random.integers(0, 8)):
        # The header is worth more attention than the pixels.
        values[at if random.random() < 0.5 else at % min(64, len(values))] = random.integers(0, 256)
    content = values.tobytes()
    if random.random() < 0.3:
        content = content[: random.integers(0, len(content) + 1)] + random.bytes(random.integers(0, 40))
    return array.array("B", content)


def raw_message(random: np.random.Generator) -> Image:
    encoding = str(random.choice([*ENCODINGS, "", "mystery12"]))
    height, width, step = (int(value) for value in random.integers(0, 40, 3))
    known = ENCODINGS.get(encoding)
    if known is not None and random.random() < 0.7:
        step = width * known.channels * known.bits // 8 + int(random.integers(0, 3))
    message = Image(height=height, width=width, encoding=encoding, step=step, is_bigendian=int(random.integers(0, 256)))
    rows = height * float(random.choice([1, 1, 1.5, 3]))
    message.data = mutated(random, random.bytes(int(step * rows) + 1)[: max(1, int(step * rows))])
    if random.random() < 0.1:
        setattr(message, str(random.choice(["height", "width", "step"])), int(random.integers(0, 2**32)))
    return message


def test_mutated_images_are_converted_or_rejected():
    random = np.random.default_rng(11)
    converted = rejected = 0
    for _ in range(MESSAGES // 2):
        message = raw_message(random)
        try:
            pixels = decode_image(message, OPTIONS).pixels
        except FrameError:
            rejected += 1
        else:
            converted += 1
            assert pixels.shape == (message.height, message.width, 3)
            assert pixels.dtype == np.uint8
    assert min(converted, rejected) > 100


def test_mutated_compressed_images_are_decoded_or_rejected():
    random = np.random.default_rng(12)
    pixels = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    files = [
        cv2.imencode(suffix, shape)[1].tobytes() for suffix in (".jpg", ".png") for shape in (pixels, pixels[..., 0])
    ]
    decoded = rejected = 0
    for index in range(MESSAGES // 2):
        message = CompressedImage(format=str(random.choice(FORMATS)), data=mutated(random, files[index % len(files)]))
        try:
            frame = decode_compressed(message, OPTIONS).pixels
        except FrameError:
            rejected += 1
        else:
            decoded += 1
            assert frame.ndim == 3
            assert frame.dtype == np.uint8
            assert frame.shape[0] * frame.shape[1] <= OPTIONS.max_pixels
    assert min(decoded, rejected) > 100
