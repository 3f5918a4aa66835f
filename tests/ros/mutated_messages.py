"""Image and CompressedImage messages with random faults, from a seed."""

import array

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from lsabinet_ros.conversions import ENCODINGS

FORMATS = ("rgb8; jpeg compressed bgr8", "mono8; png compressed ", "bayer_rggb8; jpeg compressed ", "jpeg", "", "x;y;z")


def mutated(random: np.random.Generator, data: bytes) -> array.array:
    """The data with some bytes changed, and cut or extended."""
    values = np.frombuffer(data, np.uint8).copy()
    for at in random.integers(0, len(values), random.integers(0, 8)):
        # Most faults go into the header, because faulty pixels are only another image.
        values[at if random.random() < 0.5 else at % min(64, len(values))] = random.integers(0, 256)
    content = values.tobytes()
    if random.random() < 0.3:
        content = content[: random.integers(0, len(content) + 1)] + random.bytes(random.integers(0, 40))
    return array.array("B", content)


def mutated_image(random: np.random.Generator, sides: tuple[int, int] = (0, 40)) -> Image:
    """An image of any encoding, whose data, fields or both may be wrong; ``sides``: the range of its sides."""
    encoding = str(random.choice([*ENCODINGS, "", "mystery12"]))
    height, width, step = (int(value) for value in random.integers(*sides, 3))
    known = ENCODINGS.get(encoding)
    if known is not None and random.random() < 0.7:
        step = width * known.channels * known.bits // 8 + int(random.integers(0, 3))
    message = Image(height=height, width=width, encoding=encoding, step=step, is_bigendian=int(random.integers(0, 256)))
    rows = height * float(random.choice([1, 1, 1.5, 3]))
    message.data = mutated(random, random.bytes(int(step * rows) + 1)[: max(1, int(step * rows))])
    if random.random() < 0.1:
        setattr(message, str(random.choice(["height", "width", "step"])), int(random.integers(0, 2**32)))
    return message


def encoded_images(random: np.random.Generator, size: tuple[int, int]) -> list[bytes]:
    """Intact files: JPEG and PNG, of a colour image and of a grey one."""
    pixels = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    images = (pixels, pixels[..., 0])
    return [cv2.imencode(suffix, image)[1].tobytes() for suffix in (".jpg", ".png") for image in images]


def mutated_compressed_image(random: np.random.Generator, file: bytes) -> CompressedImage:
    """A file that may be damaged, with a format that may not be its own."""
    return CompressedImage(format=str(random.choice(FORMATS)), data=mutated(random, file))
