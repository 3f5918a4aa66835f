"""Images for the node: frames of noise, pixels of masks, and invalid messages."""

import numpy as np
from sensor_msgs.msg import Image


def random_frame(seed: int, size=(72, 100)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def pixels_of(message: Image, channels: int = 1) -> np.ndarray:
    shape = (message.height, message.width, channels) if channels > 1 else (message.height, message.width)
    return np.array(message.data, dtype=np.uint8).reshape(shape)


def bad_frames(client) -> dict[str, Image]:
    frame = random_frame(6)
    cases = {}
    cases["zero width"] = client.image(frame)
    cases["zero width"].width = 0
    cases["no pixels at all"] = client.image(np.zeros((0, 0, 3), np.uint8))
    cases["step below the row"] = client.image(frame)
    cases["step below the row"].step = 100
    cases["step above the row"] = client.image(frame)
    cases["step above the row"].step = 400
    cases["short data"] = client.image(frame)
    cases["short data"].data = cases["short data"].data[:-500]
    cases["no data"] = client.image(frame)
    cases["no data"].data = cases["no data"].data[:0]
    cases["unknown encoding"] = client.image(frame, encoding="mystery12")
    cases["no encoding"] = client.image(frame, encoding="")
    return cases
