"""Mutated messages at the conversion: each gives a frame or a FrameError, and nothing else."""

import numpy as np
from mutated_messages import encoded_images, mutated_compressed_image, mutated_image

from lsabinet_core.errors import FrameError
from lsabinet_ros.conversions import DecodeOptions, decode_compressed, decode_image

MESSAGES = 2_000
OPTIONS = DecodeOptions(max_pixels=1 << 16)


def test_mutated_images_are_converted_or_rejected():
    random = np.random.default_rng(11)
    converted = rejected = 0
    for _ in range(MESSAGES // 2):
        message = mutated_image(random)
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
    files = encoded_images(random, (24, 32))
    decoded = rejected = 0
    for index in range(MESSAGES // 2):
        message = mutated_compressed_image(random, files[index % len(files)])
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
